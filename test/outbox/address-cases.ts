// Where webhooks may go, in every spelling. The same cases for every URL parser that reads them.
import { describe, expect, it } from "vitest";
import { addressFault } from "../../src/outbox/addresses.ts";

/** Hosts, between white space. */
const forbidden = {
  thisMachine: `
    127.0.0.1 127.1 127.0.1 2130706433 0x7f000001 0x7f.1 0177.0.0.1 017700000001 0x7f.0x0.0x0.0x1
    127.255.255.254 0 0.0.0.0 0.1.2.3 127.0.0.1. %31%32%37.0.0.1 １２７.0.0.1 ①②⑦.0.0.1 127。0。0。1`,
  otherRanges: `
    10.0.0.1 0xa000001 012.0.0.1 172.16.0.1 172.31.255.255 192.168.1.1 3232235777 192.168.257 169.254.169.254
    2852039166 0xa9fea9fe 0251.0376.0251.0376 169.254.43518 100.64.0.1 100.127.255.255 192.0.0.192 192.0.2.1
    198.18.0.1 198.19.255.255 198.51.100.7 203.0.113.9 224.0.0.1 239.255.255.255 240.0.0.1 255.255.255.255
    168.63.129.16 192.88.99.1`,
  ipv6: `
    [::1] [::] [0:0:0:0:0:0:0:1] [::ffff:127.0.0.1] [::ffff:7f00:1] [::127.0.0.1] [::ffff:8.8.8.8]
    [64:ff9b::7f00:1] [64:ff9b::10.0.0.1] [64:ff9b:1::a00:1] [2002:7f00:1::] [2002:a00:1::1]
    [2001:0:4136:e378:8000:63bf:3fff:fdd2] [fe80::1] [fec0::1] [fc00::1] [fd00:ec2::254] [ff02::1] [2001:db8::1]
    [3fff::1] [100::1] [2001:2::1] [2001:20::1] [5f00::1] [4000::1] [0000:0000:0000:0000:0000:ffff:0a00:0001]
    [::ffff:0:127.0.0.1]`,
  hostNames: `
    localhost LOCALHOST localhost. a.localhost lｏcalhost foo.local foo.internal foo.internal.
    metadata.google.internal instance-data.ec2.internal metadata router.lan nas.home x.home.arpa intranet db
    foo.localdomain a.b.corp x.test x.invalid hidden.onion foo.example 127.0.0.1.nip.io 10-0-0-1.sslip.io nip.io
    app.localtest.me localtest.me. x.lvh.me a.vcap.me 7f000001.c0a80001.rbndr.us example..com a.com..
    .example.com`,
};
export const hosts = Object.values(forbidden).flatMap((list) => list.trim().split(/\s+/));

export function checkAddresses(): void {
  describe("a host inside", () => {
    it("is refused in each of many spellings", () => {
      expect(new Set(hosts).size).toBeGreaterThan(60);
      const taken = hosts.filter((host) => addressFault(`https://${host}/hook`, false) === null);
      expect(taken).toEqual([]);
      const onPort = hosts.filter((host) => addressFault(`https://${host}:8443/hook`, false) === null);
      expect(onPort).toEqual([]);
    });
  });

  describe("an address", () => {
    it.each([
      "http://hooks.example.com/",
      "ftp://hooks.example.com/",
      "file:///etc/passwd",
      "javascript:alert(1)",
      "data:text/plain,x",
      "wss://hooks.example.com/",
      "//hooks.example.com/",
      "hooks.example.com",
      "",
      "https://",
      "https://user@hooks.example.com/",
      "https://user:password@hooks.example.com/",
      "https://:password@hooks.example.com/",
      "https://hooks.example.com:22/",
      "https://hooks.example.com:80/",
      "https://hooks.example.com:0/",
      "https://hooks.example.com@127.0.0.1/",
      "https://127.0.0.1\\@hooks.example.com/",
      "https://[::1%25eth0]/",
      " https://10.0.0.1/",
      "https:10.0.0.1",
      "https:/\\/10.0.0.1/",
      "ht\ntps://10.0.0.1/",
    ])("like %j is refused", (url) => expect(addressFault(url, false)).toBeTypeOf("string"));

    it("of more than 2 048 characters is refused", () => {
      const fault = (characters: number) => addressFault("https://hooks.example.com/".padEnd(characters, "x"), false);
      expect([fault(2_048), fault(2_049)]).toEqual([null, expect.any(String)]);
    });

    it.each([
      "https://hooks.example.com/",
      "https://hooks.example.com./a?b=c#d",
      "https://hooks.example.com:443/",
      "https://hooks.example.com:8443/",
      "https://8.8.8.8/",
      "https://[2606:4700:4700::1111]/",
      "https://bücher.example.com/",
      "https://localhost.example.com/",
      "https://notlocal.example.net/internal",
      "https://172.32.0.1/",
      "https://100.128.0.1/",
    ])("like %j is allowed", (url) => expect(addressFault(url, false)).toBeNull());

    it("may be on this machine in development, but never have a password in it", () => {
      const good = ["http://127.0.0.1:9000/", "http://localhost/", "http://[::1]:80/", "https://127.9.9.9:22/"];
      const alsoGood = ["http://a.localhost./", "http://hooks.example.com/", "https://hooks.example.com/"];
      for (const url of [...good, ...alsoGood]) expect(addressFault(url, true), url).toBeNull();
      for (const url of ["ftp://127.0.0.1/", "http://a:b@127.0.0.1/", "file:///etc/passwd", "nothing"])
        expect(addressFault(url, true), url).toBeTypeOf("string");
    });

    it("may not be on this machine's network, in development either", () => {
      const inside = [forbidden.otherRanges, forbidden.hostNames].flatMap((list) => list.trim().split(/\s+/));
      const here = inside.filter((host) => addressFault(`http://${host}/hook`, true) === null);
      // Names below localhost are this machine, RFC 6761.
      expect(here).toEqual(["localhost", "LOCALHOST", "localhost.", "a.localhost", "lｏcalhost"]);
      expect(addressFault("http://[fd00::1]/", true)).toBeTypeOf("string");
      expect(addressFault("http://hooks.example.com:22/", true)).toBeTypeOf("string");
    });
  });
}

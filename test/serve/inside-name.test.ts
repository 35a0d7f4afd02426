// A name that looks public and resolves to this machine or its network: nothing in its spelling tells, so the runtime's
// network refuses to connect. Needs a mount namespace, for an /etc/hosts of its own.
import { spawnSync } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { networkInterfaces, tmpdir } from "node:os";
import path from "node:path";
import { expect, it } from "vitest";

const name = "inside.griffin-test.net";
const withHosts = (hosts: string, ...command: string[]) =>
  spawnSync("unshare", ["-rm", "sh", "-c", `mount --bind "$0" /etc/hosts && exec "$@"`, hosts, ...command], {
    encoding: "utf8",
  });
const canMount = withHosts("/etc/hosts", "true").status === 0;

/** This machine's address in a private network; undefined where it is in none. */
const privateAddress = Object.values(networkInterfaces())
  .flatMap((each) => each ?? [])
  .find(({ address }) => /^(10\.|192\.168\.|172\.(1[6-9]|2\d|3[01])\.|fd)/.test(address))?.address;

/** What tests of a webhook to the name say, when it resolves to an address: of a server, and of one in development. */
async function outcomes(address: string): Promise<unknown> {
  const folder = await mkdtemp(path.join(tmpdir(), "griffin-hosts-"));
  try {
    const hosts = path.join(folder, "hosts");
    await writeFile(hosts, `${address} ${name}\n`);
    const program = path.join(import.meta.dirname, "inside-name.ts");
    const { stdout, stderr } = withHosts(hosts, process.execPath, program, name);
    expect(stdout, stderr).not.toBe("");
    return JSON.parse(stdout);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

const failed = { isMade: true, error: "connection_failed" };

it.skipIf(!canMount)("is not connected to where it is this machine, but in development", async () => {
  expect(await outcomes("127.0.0.1")).toEqual([
    { ...failed, connections: 0 },
    { ...failed, connections: 1 },
  ]);
});

it.skipIf(!canMount || privateAddress === undefined)("is not connected to where it is on its network", async () => {
  expect(await outcomes(privateAddress ?? "")).toEqual([
    { ...failed, connections: 0 },
    { ...failed, connections: 0 },
  ]);
});

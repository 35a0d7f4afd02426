// Signatures of posts against the services' own published examples, and what is not one.
import { describe, expect, it } from "vitest";
import { isSigned, secretFault, toleranceMs } from "../../src/inbox/signatures.ts";
import type { Post, Verification } from "../../src/inbox/protocol.ts";
import { githubPost, slackPost, standardPost, type SignedPost } from "../clients/signed-posts.ts";

interface Vector extends SignedPost {
  secret: string;
  atMs: number;
}

const vectors: Record<Verification, Vector> = {
  // The standard's own.
  standard: {
    secret: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    atMs: 1_614_265_330_000,
    headers: {
      "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
      "webhook-timestamp": "1614265330",
      "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    },
    body: '{"test": 2432232314}',
  },
  // Of GitHub's "Validating webhook deliveries".
  github: {
    secret: "It's a Secret to Everybody",
    atMs: 0,
    headers: {
      "x-github-delivery": "72d3162e-cc78-11e3-81ab-4c9367dc0958",
      "x-hub-signature-256": "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17",
    },
    body: "Hello, World!",
  },
  // Of Slack's "Verifying requests from Slack".
  slack: {
    secret: "8f742231b10e8888abcd99yyyzzz85a5",
    atMs: 1_531_420_618_000,
    headers: {
      "x-slack-request-timestamp": "1531420618",
      "x-slack-signature": "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503",
    },
    body: "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c",
  },
};
const each = Object.entries(vectors) as [Verification, Vector][];

const postOf = ({ headers, body }: SignedPost): Post => ({ headers, body: new TextEncoder().encode(body) });
const check = (type: Verification, vector: Vector, change: Partial<Vector> = {}) => {
  const { secret, atMs, ...signed } = { ...vector, ...change };
  return isSigned(type, [secret], postOf(signed), atMs);
};

describe("a signature", () => {
  it.each(each)("of %s is known as its document shows it", async (type, vector) => {
    expect(await check(type, vector)).toBe(true);
  });

  it.each(each)("of %s is not of another body, by another secret, or of another service", async (type, vector) => {
    expect(await check(type, vector, { body: `${vector.body} ` })).toBe(false);
    expect(await check(type, vector, { body: "" })).toBe(false);
    const secret = type === "standard" ? `whsec_${btoa("x".repeat(24))}` : `${vector.secret}x`;
    expect(await check(type, vector, { secret })).toBe(false);
    for (const other of Object.keys(vectors) as Verification[]) {
      expect(await check(other, vector, { secret: vectors[other].secret })).toBe(other === type);
    }
    expect(await isSigned(type, [], postOf(vector), vector.atMs)).toBe(false);
  });

  it.each(each)("of %s is nothing without any one of its headers, or with a changed one", async (type, vector) => {
    for (const name of Object.keys(vector.headers)) {
      const { [name]: value = "", ...rest } = vector.headers;
      expect(await check(type, vector, { headers: rest }), name).toBe(false);
      // GitHub signs no id.
      if (name === "x-github-delivery") continue;
      for (const changed of ["", `${value}0`, value.slice(0, -2), `0${value}`, value.toUpperCase(), "v1,", "v1,?"]) {
        if (changed === value) continue;
        const headers = { ...rest, [name]: changed };
        expect(await check(type, vector, { headers }), `${name}: ${changed}`).toBe(false);
      }
    }
  });

  it.each(each.filter(([type]) => type !== "github"))(
    "of %s is good for five minutes, both ways",
    async (type, vector) => {
      for (const sign of [1, -1]) {
        expect(await check(type, vector, { atMs: vector.atMs + sign * toleranceMs })).toBe(true);
        expect(await check(type, vector, { atMs: vector.atMs + sign * (toleranceMs + 1) })).toBe(false);
      }
    },
  );

  it("may be one of several, and by one of two secrets", async () => {
    const now = new Date();
    const secrets = ["a", "b", "c"].map((letter) => `whsec_${btoa(letter.repeat(32))}`);
    const signed = standardPost(secrets[1]!, { a: 1 }, "m", now);
    const signature = signed.headers["webhook-signature"]!;
    const known = (given: string[], text = signature) =>
      isSigned(
        "standard",
        given,
        postOf({ ...signed, headers: { ...signed.headers, "webhook-signature": text } }),
        now.getTime(),
      );
    expect(await known([secrets[0]!, secrets[1]!])).toBe(true);
    expect(await known([secrets[0]!, secrets[2]!])).toBe(false);
    expect(await known(secrets, `v1,${btoa("x".repeat(32))} v1a,abc ${signature}`)).toBe(true);
  });

  it("holds over bytes that are no text", async () => {
    const body = new Uint8Array([0xff, 0xfe, 0x00]);
    const key = await crypto.subtle.importKey(
      "raw",
      new TextEncoder().encode("s"),
      { name: "HMAC", hash: "SHA-256" },
      false,
      ["sign"],
    );
    const hex = [...new Uint8Array(await crypto.subtle.sign("HMAC", key, body))]
      .map((byte) => byte.toString(16).padStart(2, "0"))
      .join("");
    const headers = { "x-hub-signature-256": `sha256=${hex}`, "x-github-delivery": "d" };
    expect(await isSigned("github", ["s"], { body, headers }, 0)).toBe(true);
    expect(await isSigned("github", ["s"], { body: new Uint8Array([0xfe, 0xff, 0x00]), headers }, 0)).toBe(false);
  });

  it("of tests' own senders is known, so that what they send is refused for its faults alone", async () => {
    const at = new Date();
    const secret = "0123456789abcdef";
    expect(await isSigned("github", [secret], postOf(githubPost(secret, {})), 0)).toBe(true);
    expect(await isSigned("slack", [secret], postOf(slackPost(secret, { a: "b" }, at)), at.getTime())).toBe(true);
  });
});

describe("a secret", () => {
  it("has what its kind needs", () => {
    expect(secretFault("standard", vectors.standard.secret)).toBeNull();
    expect(secretFault("github", vectors.github.secret)).toBeNull();
    for (const secret of [
      "",
      "whsec_",
      "whsec_?",
      `whsec_${btoa("x".repeat(23))}`,
      `whsec_${btoa("x".repeat(65))}`,
      btoa("x".repeat(32)),
    ]) {
      expect(secretFault("standard", secret), secret).toMatch(/24 to 64/);
    }
    expect(secretFault("slack", "short")).toMatch(/16/);
  });
});

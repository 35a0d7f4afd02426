// Signatures: the published vectors, and what happens while secrets rotate.
import { OpenAI } from "openai";
import { Webhook } from "standardwebhooks";
import { afterEach, describe, expect, it, vi } from "vitest";
import { hintOf, newSecret, rotated, signedHeaders, validSecrets } from "../../src/outbox/signing.ts";

const vectors = [
  {
    of: "Standard Webhooks",
    secret: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    id: "msg_p5jXN8AQM9LWM0D4loKWxJek",
    timestamp: 1_614_265_330,
    body: '{"test": 2432232314}',
    signature: "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
  },
  {
    of: "OpenAI's clients",
    secret: "whsec_RdvaYFYUXuIFuEbvZHwMfYFhUf7aMYjYcmM24+Aj40c=",
    id: "wh_685c059ae39c8190af8c71ed1022a24d",
    timestamp: 1_750_861_210,
    body: '{"id": "evt_685c059ae3a481909bdc86819b066fb6", "object": "event", "created_at": 1750861210, "type": "response.completed", "data": {"id": "resp_123"}}',
    signature: "v1,gUAg4R2hWouRZqRQG4uJypNS8YK885G838+EHb4nKBY=",
  },
];

afterEach(() => void vi.useRealTimers());

describe("an attempt", () => {
  it.each(vectors)("is signed as the vector of $of says", ({ secret, id, timestamp, body, signature }) => {
    expect(signedHeaders([secret], { id, body }, timestamp * 1000 + 999)).toEqual({
      "webhook-id": id,
      "webhook-timestamp": String(timestamp),
      "webhook-signature": signature,
    });
  });

  it("is known by whoever has one of the secrets, and by nobody else", async () => {
    const [old, young, other] = [newSecret(), newSecret(), newSecret()];
    const body = JSON.stringify({ id: "evt_1", text: "ä🦊" });
    const headers = signedHeaders([young, old], { id: "evt_1", body }, Date.now());
    const openai = new OpenAI({ apiKey: "none" });
    for (const secret of [old, young]) {
      expect(new Webhook(secret).verify(body, headers)).toEqual(JSON.parse(body));
      expect(await openai.webhooks.unwrap(body, headers, secret)).toEqual(JSON.parse(body));
    }
    expect(() => new Webhook(other).verify(body, headers)).toThrow("No matching signature");
    await expect(openai.webhooks.unwrap(body, headers, other)).rejects.toThrow("does not match");
    expect(() => new Webhook(old).verify(`${body} `, headers)).toThrow("No matching signature");
  });
});

describe("a secret", () => {
  it("is 32 random bytes, of which the hint tells nothing but four characters", () => {
    const secrets = Array.from({ length: 50 }, newSecret);
    expect(new Set(secrets).size).toBe(50);
    for (const secret of secrets) {
      expect(secret).toMatch(/^whsec_[A-Za-z0-9+/]{43}=$/);
      expect(hintOf(secret)).toBe(`whsec_…${secret.slice(-4)}`);
    }
  });

  it("signs on for as long as a rotation leaves it, and never longer than one before left it", () => {
    const first = rotated([], 0, 0);
    const second = rotated(first, 1_000, 10);
    expect(second).toHaveLength(2);
    expect(second[1]).toEqual({ secret: first[0]?.secret, untilMs: 1_010 });
    expect(validSecrets(second, 1_009)).toHaveLength(2);
    expect(validSecrets(second, 1_010)).toEqual([second[0]]);
    const third = rotated(second, 5_000, 20);
    expect(third.map(({ untilMs }) => untilMs)).toEqual([null, 5_020, 1_010]);
    expect(rotated(third, 0, 30)).toHaveLength(1);
    let many = third;
    for (let i = 0; i < 20; i++) many = rotated(many, 5_000, 40);
    expect(many).toHaveLength(4);
  });
});

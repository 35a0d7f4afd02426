import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  adminKeyOf,
  hashOf,
  isSameSecret,
  keySecretOf,
  newApiKey,
  newTenantId,
  tenantOfKey,
} from "../../src/tenant/api-key.ts";

const keySecret = "a3f9";

describe("an API key", () => {
  it("names its tenant, and no two are the same", () => {
    const tenant = newTenantId();
    const keys = Array.from({ length: 100 }, () => newApiKey(tenant, keySecret));
    expect(keys.map((key) => tenantOfKey(key, keySecret))).toEqual(keys.map(() => tenant));
    expect(new Set(keys).size).toBe(100);
    expect(new Set(keys.map(hashOf)).size).toBe(100);
    expect(keys[0]).toMatch(/^gk_[0-9a-f]{16}_[0-9a-f]{56}$/);
  });

  it("ends with the first 64 bits of the HMAC-SHA-256 of what is before them", () => {
    // printf gk_0123456789abcdef_00112233445566778899aabbccddeeff00112233 | openssl dgst -sha256 -hmac a3f9
    const head = "gk_0123456789abcdef_00112233445566778899aabbccddeeff00112233";
    expect(tenantOfKey(`${head}a6c0c6511fc8404f`, keySecret)).toBe("0123456789abcdef");
  });

  it("with any one character changed is none, and is told without asking anybody", () => {
    const key = newApiKey(newTenantId(), keySecret);
    fc.assert(
      fc.property(fc.nat(key.length - 1), fc.constantFrom(..."0123456789abcdefgk_X "), (at, char) => {
        fc.pre(key[at] !== char);
        expect(tenantOfKey(key.slice(0, at) + char + key.slice(at + 1), keySecret)).toBeNull();
      }),
      { seed: 5 },
    );
    for (const text of ["", "gk_", key.slice(0, -1), `${key}0`, ` ${key}`, key.toUpperCase()]) {
      expect(tenantOfKey(text, keySecret)).toBeNull();
    }
  });

  it("can be made by nobody who does not know the server's secret", () => {
    for (const other of ["", "A3f9", `${keySecret} `, "administrators"]) {
      expect(tenantOfKey(newApiKey(newTenantId(), other), keySecret)).toBeNull();
    }
    const head = newApiKey(newTenantId(), keySecret).slice(0, -16);
    expect(tenantOfKey(head + hashOf(head).slice(0, 16), keySecret)).toBeNull();
  });

  it("is compared whole", () => {
    expect(isSameSecret("secret", "secret")).toBe(true);
    for (const other of ["secreT", "secre", "secret ", ""]) expect(isSameSecret("secret", other)).toBe(false);
  });
});

describe("a server's secret", () => {
  it("seals keys where it is set, and the administrators' key does where it is not", () => {
    expect(keySecretOf({ ADMIN_KEY: "a", KEY_SECRET: "k" })).toBe("k");
    expect(keySecretOf({ ADMIN_KEY: "a", KEY_SECRET: "" })).toBe("a");
    expect([keySecretOf({}), adminKeyOf({ ADMIN_KEY: "" }), adminKeyOf({ KEY_SECRET: "k" })]).toEqual([
      null,
      null,
      null,
    ]);
  });

  it.each([" a", "a b", "a\n", "\t", "schlüssel"])(
    "that is %j, which no header can carry, is refused by its name",
    (bad) => {
      expect(() => adminKeyOf({ ADMIN_KEY: bad })).toThrow(/^ADMIN_KEY may have/);
      expect(() => keySecretOf({ ADMIN_KEY: bad })).toThrow(expect.objectContaining({ code: "invalid_config" }));
      expect(() => keySecretOf({ KEY_SECRET: bad, ADMIN_KEY: "a" })).toThrow(/^KEY_SECRET may have/);
    },
  );
});

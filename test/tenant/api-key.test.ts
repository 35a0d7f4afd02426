import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { hashOf, isSameSecret, newApiKey, newTenantId, tenantOfKey } from "../../src/tenant/api-key.ts";

describe("an API key", () => {
  it("names its tenant, and no two are the same", () => {
    const tenant = newTenantId();
    const keys = Array.from({ length: 100 }, () => newApiKey(tenant));
    expect(keys.map(tenantOfKey)).toEqual(keys.map(() => tenant));
    expect(new Set(keys).size).toBe(100);
    expect(new Set(keys.map(hashOf)).size).toBe(100);
    expect(keys[0]).toMatch(/^gk_[0-9a-f]{16}_[0-9a-f]{48}$/);
  });

  it("with any one character changed is none, and is told without asking anybody", () => {
    const key = newApiKey(newTenantId());
    fc.assert(
      fc.property(fc.nat(key.length - 1), fc.constantFrom(..."0123456789abcdefgk_X "), (at, char) => {
        fc.pre(key[at] !== char);
        expect(tenantOfKey(key.slice(0, at) + char + key.slice(at + 1))).toBeNull();
      }),
      { seed: 5 },
    );
    for (const text of ["", "gk_", key.slice(0, -1), `${key}0`, ` ${key}`, key.toUpperCase()]) {
      expect(tenantOfKey(text)).toBeNull();
    }
  });

  it("is compared whole", () => {
    expect(isSameSecret("secret", "secret")).toBe(true);
    for (const other of ["secreT", "secre", "secret ", ""]) expect(isSameSecret("secret", other)).toBe(false);
  });
});

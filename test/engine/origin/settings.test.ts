// What operators say of an origin, and what is no origin.
import { describe, expect, it } from "vitest";
import { originSettings, type OriginEnv } from "../../../src/engine/origin/settings.ts";
import { defaultPrefillTokens } from "../../../src/engine/placement.ts";
import { faultOf } from "./models.ts";

const ORIGIN_URL = "https://origin.example/a/{model}/";

describe("the settings of an origin", () => {
  it("name none unless there is an address", () => {
    expect(originSettings({}, "pocket")).toBeNull();
    expect(originSettings({ ORIGIN_URL: "", ORIGIN_KEY: "k" }, "pocket")).toBeNull();
  });

  it("have the rest filled in, and the model in the address", () => {
    expect(originSettings({ ORIGIN_URL }, "a b/c")).toEqual({
      url: "https://origin.example/a/a%20b%2Fc/",
      prefillTokens: defaultPrefillTokens,
      takesBatches: true,
    });
    const all = {
      ORIGIN_URL: "http://[::1]:8790",
      ORIGIN_KEY: "k",
      ORIGIN_PREFILL_TOKENS: "7",
      ORIGIN_BATCHES: "edge",
    };
    expect(originSettings(all, "pocket")).toEqual({
      url: "http://[::1]:8790",
      key: "k",
      prefillTokens: 7,
      takesBatches: false,
    });
  });

  it.each<OriginEnv>([
    { ORIGIN_URL: "origin.example" },
    { ORIGIN_URL: "ftp://origin.example" },
    { ORIGIN_URL: "https://" },
    { ORIGIN_URL: "https://origin.example:port" },
    { ORIGIN_URL: "https://me:secret@origin.example" },
    { ORIGIN_URL: "https://origin.example?key=secret" },
    { ORIGIN_KEY: "a secret" },
    { ORIGIN_PREFILL_TOKENS: "0" },
    { ORIGIN_PREFILL_TOKENS: "1e3" },
    { ORIGIN_BATCHES: "no" },
  ])("as %j are refused, by name and without the value", async (env) => {
    const error = await faultOf(() => originSettings({ ORIGIN_URL, ...env }, "pocket"));
    const [[name, value]] = Object.entries(env) as [[string, string]];
    expect(error.code).toBe("invalid_config");
    expect(error.message).toContain(`${name} must be`);
    if (value.includes("secret")) expect(error.message).not.toContain("secret");
  });
});

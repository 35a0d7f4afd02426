// The settings of both servers, and the file in which wrangler is told them.
import { describe, expect, it } from "vitest";
import { settingsFile, settingsOf } from "../../src/cli/serve/settings.ts";

describe("settings", () => {
  it("are those of the environment, and ask for keys where there is an administrators' one", () => {
    expect(settingsOf({ HOME: "/", RETENTION_DAYS: "3" })).toEqual({ ACCESS: "open", RETENTION_DAYS: "3" });
    expect(settingsOf({ ADMIN_KEY: "a" })).toEqual({ ACCESS: "keys", ADMIN_KEY: "a" });
    expect(settingsOf({ ADMIN_KEY: "a", ACCESS: "open" })).toMatchObject({ ACCESS: "open" });
    for (const secret of ["a b", "a\n", "ä"]) expect(() => settingsOf({ KEY_SECRET: secret })).toThrow(/KEY_SECRET/);
  });

  it("of an origin are looked at before anything starts", () => {
    const url = "https://origin.example/{model}";
    expect(settingsOf({ ORIGIN_URL: url, ORIGIN_BATCHES: "edge" })).toMatchObject({ ORIGIN_URL: url });
    expect(() => settingsOf({ ORIGIN_URL: "origin.example" })).toThrow(/ORIGIN_URL must be an address/);
  });

  it("stand in a file as they are: with quotes they do not have, and without references", () => {
    const set = { ADMIN_KEY: "a$HOME#=", MODERATION: '{"url": "x"}', OPERATOR: `it's "me"` };
    expect(settingsFile(set)).toBe(`ADMIN_KEY='a\\$HOME#='\nMODERATION='{"url": "x"}'\nOPERATOR=\`it's "me"\`\n`);
    for (const value of ["a\nb", "'`\""]) expect(() => settingsFile({ OPERATOR: value })).toThrow(/OPERATOR/);
  });
});

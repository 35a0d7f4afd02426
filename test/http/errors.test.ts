import { describe, expect, it } from "vitest";
import { errorCodes, GriffinError } from "../../src/errors.ts";
import { errorResponse, loggableError, requestError, statusOf, wireError } from "../../src/http/errors.ts";

describe("an error on the wire", () => {
  it("has a status for every code", () => {
    expect(Object.keys(statusOf).sort()).toEqual([...errorCodes].sort());
  });

  it("says what the caller did, and which field is to blame", async () => {
    const response = errorResponse(requestError("unsupported", "tools: this is not supported.", "tools"));
    expect(response.status).toBe(400);
    expect(await response.json()).toEqual({
      error: {
        message: "tools: this is not supported.",
        type: "invalid_request_error",
        param: "tools",
        code: "unsupported",
      },
    });
  });

  it("of an origin that is away says when to come again", () => {
    const { status, headers } = errorResponse(new GriffinError("origin_away", "It is away."));
    expect([status, headers.get("retry-after"), headers.get("x-should-retry")]).toEqual([503, "5", null]);
    // Of one that fails nobody knows when that ends.
    const failed = errorResponse(new GriffinError("origin_failed", "It refuses us."));
    expect([failed.status, failed.headers.get("retry-after")]).toEqual([503, null]);
  });

  it("is known by its code when it comes over RPC without its class", () => {
    const error = Object.assign(new Error("The conversation is busy."), { code: "conversation_busy" });
    expect(wireError(error)).toEqual({
      message: "The conversation is busy.",
      type: "invalid_request_error",
      param: null,
      code: "conversation_busy",
    });
  });

  it.each([
    ["a bug", new TypeError("secret is not a function")],
    ["an unknown code", Object.assign(new Error("secret"), { code: "ENOENT" })],
    ["a fault of ours", new GriffinError("internal", "secret")],
    ["a damaged checkpoint", new GriffinError("invalid_checkpoint", "secret")],
    ["no error at all", "secret"],
  ])("says nothing of %s", async (_, error) => {
    const response = errorResponse(error);
    expect(response.status).toBe(500);
    expect(await response.text()).not.toContain("secret");
  });

  it("tells clients to try again only where that may help", () => {
    const isFinal = (code: (typeof errorCodes)[number]) =>
      errorResponse(new GriffinError(code, "")).headers.get("x-should-retry") === "false";
    expect(errorCodes.filter((code) => !isFinal(code))).toEqual([
      "conversation_busy",
      "internal",
      "io_failed",
      "moderation_failed",
      "origin_away",
      "origin_failed",
      "overloaded",
      "rate_limited",
    ]);
  });
});

describe("an error in the log", () => {
  it("is its code alone where the caller is to blame", () => {
    expect(loggableError(new GriffinError("invalid_argument", "secret"))).toEqual({ error_code: "invalid_argument" });
  });

  it("says what is wrong with the operator's files", () => {
    expect(loggableError(new GriffinError("hash_mismatch", "weights differ"))).toEqual({
      error_code: "hash_mismatch",
      error_message: "weights differ",
    });
  });

  it("is where a bug happened, without its message", () => {
    const logged = loggableError(new SyntaxError("secret\nsecret"));
    expect(logged).toMatchObject({ error_code: "internal", error_name: "SyntaxError" });
    expect(JSON.stringify(logged)).toContain("errors.test.ts");
    expect(JSON.stringify(logged)).not.toContain("secret");
  });
});

// Moderation in real workerd: turns of pocket in front of a service that flags words.
import { env, runInDurableObject } from "cloudflare:test";
import { describe, expect, it } from "vitest";
import { LiveTurn } from "../../src/conversation/live-turn.ts";
import { moderationOf } from "../../src/conversation/moderation.ts";
import { runTurn } from "../../src/conversation/run-turn.ts";
import { openStore, type TurnRow } from "../../src/conversation/store.ts";
import { eventsOf, hostOf, say, stubOf, textOf } from "./turns.ts";

interface Call {
  url: string;
  input: string;
  model: string | undefined;
  authorization: string | null;
}

/** A service that flags texts with a word in them; it remembers what it was asked. */
function serviceAgainst(word: string) {
  const calls: Call[] = [];
  const fetch = async (url: string, init: RequestInit): Promise<Response> => {
    const { input, model } = JSON.parse(String(init.body)) as { input: string; model?: string };
    calls.push({ url, input, model, authorization: new Headers(init.headers).get("authorization") });
    return Response.json({ results: [{ flagged: input.includes(word), categories: {} }] });
  };
  return { calls, fetch };
}

const unavailable = async () => new Response("busy", { status: 503 });

/** Runs a turn with a moderation, in an object of its own. */
async function moderated(name: string, text: string, variables: object) {
  await stubOf(name).create({});
  return runInDurableObject(
    env.CONVERSATIONS.get(env.CONVERSATIONS.idFromName(name)) as never,
    async (_, { storage }) => {
      const store = openStore(storage);
      const { messages, options, metadata } = say(text);
      const request = { messages, options, metadata, repeatKey: null, endsWithClient: false };
      const turn = store.insertTurn({ ...request, parent: null, branch: 0, nowMs: Date.now() });
      const live = new LiveTurn(turn, false);
      await runTurn(hostOf(store, variables), live);
      const row = store.turn(turn) as TurnRow;
      return { row, head: store.branchHead(0), said: textOf(await eventsOf(live.stream())) };
    },
  );
}

const story = "Tell me a story about a fox.";

describe("moderation", () => {
  it("lets through what is not flagged, having seen all of it", async () => {
    const { calls, fetch } = serviceAgainst("never said");
    const MODERATION = JSON.stringify({ url: "https://moderator.example/v1/moderations", model: "m" });
    const variables = { MODERATION, MODERATION_KEY: "secret", MODERATOR: { fetch } };
    const { row, said } = await moderated("allowed", story, variables);
    expect(row.status).toBe("completed");
    expect(said).toBe(row.text);
    expect(calls[0]).toEqual({
      url: "https://moderator.example/v1/moderations",
      input: story,
      model: "m",
      authorization: "Bearer secret",
    });
    expect(calls.at(-1)?.input).toBe(row.text);
  });

  it("refuses a flagged message before the model sees it", async () => {
    const { calls, fetch } = serviceAgainst("fox");
    const { row, head, said } = await moderated("input", story, { MODERATION: "{}", MODERATOR: { fetch } });
    expect(row).toMatchObject({ status: "failed", error: { code: "refused" }, text: "", endPosition: null });
    expect({ head, said, calls: calls.length }).toEqual({ head: null, said: "", calls: 1 });
  });

  it("refuses a flagged reply before anybody reads it", async () => {
    const [, word = ""] = /(\w+)\W*$/.exec((await moderated("whole", story, {})).row.text) ?? [];
    expect(word).not.toBe("");
    const { fetch } = serviceAgainst(word);
    const MODERATION = JSON.stringify({ input: false });
    const { row, head, said } = await moderated("output", story, { MODERATION, MODERATOR: { fetch } });
    expect(row).toMatchObject({ status: "failed", error: { code: "refused" }, text: "" });
    expect({ head, said }).toEqual({ head: null, said: "" });
    // The model has run for it.
    expect(row.usage?.completionTokens).toBeGreaterThan(0);
  });

  it("says nothing while the service does not answer", async () => {
    const variables = { MODERATION: "{}", MODERATOR: { fetch: unavailable } };
    const { row, said } = await moderated("silent", story, variables);
    expect(row).toMatchObject({ status: "failed", error: { code: "moderation_failed" }, text: "" });
    expect(said).toBe("");
  });

  it("is off unless it is set, and says how to set it", async () => {
    expect(moderationOf({})).toBeNull();
    expect(() => moderationOf({ MODERATION: "yes" })).toThrow(/MODERATION must be JSON/);
    expect(() => moderationOf({ MODERATION: '{"url": "ftp://x"}' })).toThrow(/MODERATION must be JSON/);
  });
});

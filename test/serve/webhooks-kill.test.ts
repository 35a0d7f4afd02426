// kill -9 at random moments while responses end and are told of: every end of a response that was accepted is told, under
// one id however often.
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { keyOf, uniformAt } from "../../src/engine/threefry.ts";
import { startServer, type TestServer } from "../server.ts";
import { ask } from "./client.ts";
import { startReceiver, type Receiver } from "./receiver.ts";

const responses = 200;
const kills = 12;
/** Between two kills, at most. */
const mostLifeMs = 1_200;
const atOnce = 8;
const key = keyOf(2026n);

describe(`${responses} responses, and ${kills} kills`, { timeout: 120_000 }, () => {
  let server: TestServer;
  let receiver: Receiver;
  beforeAll(async () => {
    receiver = await startReceiver((_, response) => {
      setTimeout(() => response.writeHead(204).end(), 40 * Math.random());
    });
    server = await startServer({ environment: { WEBHOOKS_DEVELOPMENT: "1" } });
    await ask(server, "/v1/webhook_endpoints", { url: receiver.url });
  });
  afterAll(async () => {
    receiver.stop();
    await server.stop();
  });

  it("leave no end of a response untold", async () => {
    const told = () => {
      const events = receiver.received.map(({ body, headers }) => {
        const { id, type, data } = JSON.parse(body) as { id: string; type: string; data: { id: string } };
        return { id, type, response: data.id, webhookId: headers["webhook-id"] };
      });
      return Map.groupBy(events, ({ response }) => response);
    };
    const accepted = new Set<string>();
    let isKilling = true;
    const begin = async () => {
      const body = { model: "pocket", input: "Hello!", background: true, max_output_tokens: 20, temperature: 0.9 };
      const answer = await ask(server, "/v1/responses", body).catch(() => null);
      const value = await answer?.json().catch(() => null);
      const { id } = (value ?? {}) as { id?: string };
      if (answer?.ok && id !== undefined) accepted.add(id);
      else await sleep(30);
    };
    const work = async () => {
      // As long as it is killed there is work: it is told of while it dies.
      while (accepted.size < responses || isKilling) {
        await begin();
        await sleep(accepted.size < responses ? 20 : 100);
      }
    };
    const killing = async () => {
      for (let i = 1; i < kills; i++) {
        await sleep(uniformAt(key, i) * mostLifeMs);
        await server.kill("SIGKILL");
        await server.restart();
      }
      isKilling = false;
    };
    await Promise.all([killing(), ...Array.from({ length: atOnce }, work)]);
    // After the last kill nobody comes any more: what was left is told because alarms ring.
    await Promise.all(Array.from({ length: 2 * atOnce }, begin));
    const untold = [...accepted].filter((id) => !told().has(id)).length;
    await server.kill("SIGKILL");
    expect(untold).toBeGreaterThan(0);
    await server.restart();
    expect(accepted.size).toBeGreaterThanOrEqual(responses);

    await expect.poll(() => [...accepted].filter((id) => !told().has(id)).length, { timeout: 45_000 }).toBe(0);
    const repeated = [...told().values()].filter((events) => events.length > 1).length;
    for (const [response, events] of told()) {
      const different = new Set(events.map(({ id, type, webhookId }) => `${id} ${type} ${webhookId}`));
      expect([...different], response).toHaveLength(1);
      const [event] = events;
      expect(event?.id).toBe(event?.webhookId);
    }
    // Some died while they were being told of, or this shows nothing.
    expect(repeated).toBeGreaterThan(0);
  });
});

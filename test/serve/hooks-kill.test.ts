// kill -9 at random moments while posts to hooks come in, run turns and are answered: every post that was accepted is in its
// conversation once, and its reply comes, under one id however often.
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { keyOf, uniformAt } from "../../src/engine/threefry.ts";
import { standardPost, type SignedPost } from "../clients/signed-posts.ts";
import { startServer, type TestServer } from "../server.ts";
import { ask } from "./client.ts";
import { startReceiver, type Receiver } from "./receiver.ts";

const posts = 120;
const customers = 6;
const kills = 8;
/** Between two kills, at most. */
const mostLifeMs = 1_200;
const key = keyOf(2027n);

interface Told {
  id: string;
  type: string;
  data: { delivery_id: string; conversation: string; response: string };
}
interface Items {
  data: { role: string; content: { text: string }[] }[];
  has_more: boolean;
  last_id: string;
}

describe(`${posts} posts, and ${kills} kills`, { timeout: 120_000 }, () => {
  let server: TestServer;
  let receiver: Receiver;
  let hook: { url: string; secret: string };
  beforeAll(async () => {
    receiver = await startReceiver();
    server = await startServer({ environment: { WEBHOOKS_DEVELOPMENT: "1" } });
    const answer = await ask(server, "/v1/hooks", {
      model: "pocket",
      max_output_tokens: 6,
      input: "{{ text }}",
      conversation_key: "{{ customer }}",
      verification: { type: "standard" },
      reply: { type: "callback", url: receiver.url },
    });
    hook = (await answer.json()) as typeof hook;
  });
  afterAll(async () => {
    receiver.stop();
    await server.stop();
  });

  it("lose no post and append none twice", async () => {
    const accepted = new Map<string, string>();
    let number = 0;
    /** Sends until it is accepted, as services do. */
    const send = async (signed: () => SignedPost, id: string, text: string) => {
      while (!accepted.has(id)) {
        const answer = await fetch(hook.url, { method: "POST", ...signed() }).catch(() => null);
        await answer?.body?.cancel();
        if (answer?.status === 202) accepted.set(id, text);
        else await sleep(50);
      }
    };
    const work = async () => {
      while (number < posts) {
        const mine = number++;
        const [id, text] = [`msg_${mine}`, `Post number ${mine}.`];
        await send(() => standardPost(hook.secret, { customer: mine % customers, text }, id), id, text);
        await sleep(60);
      }
    };
    const killing = async () => {
      for (let i = 0; i < kills; i++) {
        await sleep(uniformAt(key, i) * mostLifeMs);
        await server.kill("SIGKILL");
        await server.restart();
      }
    };
    await Promise.all([killing(), work(), work()]);
    expect(accepted.size).toBe(posts);

    const told = () => receiver.received.map(({ body }) => JSON.parse(body) as Told);
    const untold = () => {
      const known = new Set(told().map(({ data }) => data.delivery_id));
      return [...accepted.keys()].filter((id) => !known.has(id));
    };
    await expect.poll(untold, { timeout: 60_000 }).toEqual([]);
    for (const [id, events] of Map.groupBy(told(), ({ data }) => data.delivery_id)) {
      expect(new Set(events.map((event) => JSON.stringify(event))).size, id).toBe(1);
      expect(events[0]?.type).toBe("hook.replied");
    }
    const conversations = new Set(told().map(({ data }) => data.conversation));
    expect(conversations.size).toBe(customers);
    const said: string[] = [];
    for (const conversation of conversations) {
      for (let after = "", isLast = false; !isLast;) {
        const answer = await ask(server, `/v1/conversations/${conversation}/items?order=asc&limit=100${after}`);
        const { data, has_more: hasMore, last_id: last } = (await answer.json()) as Items;
        said.push(...data.filter(({ role }) => role === "user").map(({ content }) => content[0]?.text ?? ""));
        [after, isLast] = [`&after=${last}`, !hasMore];
      }
    }
    expect(said.toSorted()).toEqual([...accepted.values()].toSorted());
  });
});

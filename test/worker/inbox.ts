// A hook, and what can be asked of it and of the conversations that posts to it go on with.
import { env, runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import { expect } from "vitest";
import { conversationName, randomName } from "../../src/conversation/names.ts";
import { hookName } from "../../src/inbox/env.ts";
import type { DeliveryView, NewHook, Post, Receipt } from "../../src/inbox/protocol.ts";
import { newSecret, signedHeaders } from "../../src/outbox/signing.ts";
import { greedy, stubOf } from "./turns.ts";

export const weekMs = 7 * 24 * 3_600_000;

/** A hook of its own; nothing is made of it yet. */
export function newHook(change: Partial<NewHook> = {}) {
  const object = randomName();
  const hook: NewHook = {
    id: `hook_${object}`,
    tenant: "",
    key: null,
    name: "test",
    options: { ...greedy, maxTokens: 8 },
    instructions: null,
    conversationKey: "{{ key }}",
    input: "{{ text }}",
    replyTo: { type: "callback", url: `https://receiver.example.com/${object}/200` },
    verification: "standard",
    secret: newSecret(),
    ...change,
  };
  const stub = () => env.HOOKS.get(env.HOOKS.idFromName(hookName(object)));
  const signed = (payload: object, id: string, secret = hook.secret): Post => {
    const body = JSON.stringify(payload);
    return { body: new TextEncoder().encode(body), headers: signedHeaders([secret], { id, body }, Date.now()) };
  };
  const list = async (): Promise<DeliveryView[]> =>
    (await stub().list(hook.tenant, { status: null, after: null, limit: 100 })).deliveries.toReversed();
  const statuses = async () => (await list()).map(({ status }) => status);
  const alarmMs = (): Promise<number | null> =>
    runInDurableObject(stub() as never, (_, { storage }) => storage.getAlarm());
  const conversationOf = ({ conversation }: DeliveryView) => {
    const [, name = ""] = /^conv_(\w{32})_0$/.exec(conversation ?? "") ?? [];
    return stubOf(conversationName(hook.tenant, name));
  };
  return {
    hook,
    path: `/${object}/`,
    stub,
    signed,
    list,
    statuses,
    alarmMs,
    conversationOf,
    create: () => stub().create(hook),
    post: (payload: object, id: string): Promise<Receipt> => stub().receive(signed(payload, id)),
    /** Lets the alarm ring, whenever it is set to; one must be. */
    async ring(): Promise<void> {
      expect(await alarmMs()).not.toBeNull();
      await runDurableObjectAlarm(stub() as never);
    },
    sql: (query: string, ...values: (string | number)[]) =>
      runInDurableObject(stub() as never, (_, { storage }) => storage.sql.exec(query, ...values).toArray()),
    /** What users said in a delivery's conversation. */
    async said(delivery: DeliveryView): Promise<string[]> {
      const { turns } = await conversationOf(delivery).turns(0, { order: "asc", from: undefined, limit: 100 });
      return turns
        .filter(({ kind }) => kind === "reply")
        .flatMap(({ messages }) => messages.map(({ content }) => content));
    },
    /** Has the conversation of a delivery have a turn in progress, until what this returns is called. */
    async occupy(delivery: DeliveryView): Promise<() => Promise<void>> {
      const become = (status: string) =>
        runInDurableObject(
          conversationOf(delivery) as never,
          (_, { storage }) => void storage.sql.exec("UPDATE turns SET status = ? WHERE turn = 1", status),
        );
      await become("in_progress");
      return () => become("completed");
    },
    /** All deliveries, once so many are over. */
    async ended(count: number): Promise<DeliveryView[]> {
      const isOver = async () =>
        (await statuses()).filter((status) => !["queued", "in_progress"].includes(status)).length;
      await expect.poll(isOver, { timeout: 20_000 }).toBe(count);
      return list();
    },
  };
}

export type TestHook = ReturnType<typeof newHook>;

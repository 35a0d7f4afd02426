// What readers see of a reply, against what outlives the process: a disk in the test's hand says when that is.
import { expect, it, vi } from "vitest";
import { ReplyLog } from "../../src/conversation/reply-log.ts";

/** A log of a turn, with what it wrote and passed on. `sync` ends a wait for the disk. */
function logOf(isHeld: boolean, replied: number[] = []) {
  const written: number[][] = [];
  const passed: number[] = [];
  let syncs: PromiseWithResolvers<void>[] = [];
  const log = new ReplyLog<{ index: number }>({
    turn: { turn: 1, options: { topLogProbabilities: null } as never },
    mark: 7,
    isHeld,
    pass: ({ index }) => passed.push(index),
    store: {
      openLog: () => ({ tokens: replied, logProbabilities: [] }),
      appendLog: (_turn, _mark, tokens) => void written.push([...tokens]),
      synced: () => {
        const wait = Promise.withResolvers<void>();
        syncs.push(wait);
        return wait.promise;
      },
    },
  });
  const say = (index: number) => {
    log.add(100 + index, undefined);
    log.pass({ index });
  };
  const sync = async (error?: Error) => {
    for (const wait of syncs)
      if (error) wait.reject(error);
      else wait.resolve();
    syncs = [];
    await vi.advanceTimersByTimeAsync(0);
  };
  return { log, say, sync, written, passed };
}

it.each([false, true])(
  "what an origin has a part in is seen when it is safe, the rest at once (%s)",
  async (isHeld) => {
    vi.useFakeTimers();
    const { say, sync, written, passed } = logOf(isHeld);
    say(0);
    await vi.advanceTimersByTimeAsync(1);
    say(1);
    expect(passed).toEqual(isHeld ? [] : [0, 1]);
    if (!isHeld) return;
    expect(written).toEqual([[100]]);
    await sync();
    expect(passed).toEqual([0]);
    await vi.advanceTimersByTimeAsync(100);
    expect([written, passed]).toEqual([[[100], [101]], [0]]);
    await sync();
    expect(passed).toEqual([0, 1]);
  },
);

it("what came before an interruption is seen at once", () => {
  const { say, passed } = logOf(true, [100, 101]);
  for (const index of [0, 1, 2]) say(index);
  expect(passed).toEqual([0, 1]);
});

it("the end of a reply is seen when the whole is safe", async () => {
  vi.useFakeTimers();
  const { log, say, sync, passed } = logOf(true);
  say(0);
  const ended = log.end();
  await vi.advanceTimersByTimeAsync(1_000);
  expect(passed).toEqual([]);
  await sync();
  await ended;
  expect(passed).toEqual([0]);
});

it("a log that was closed passes nothing on any more, and one that cannot be written ends the reply", async () => {
  vi.useFakeTimers();
  const closed = logOf(true);
  closed.say(0);
  await vi.advanceTimersByTimeAsync(1);
  closed.log.close();
  await closed.sync();
  expect(closed.passed).toEqual([]);

  const failing = logOf(true);
  failing.say(0);
  await vi.advanceTimersByTimeAsync(1);
  await failing.sync(new Error("disk full"));
  expect(() => failing.say(1)).toThrow("disk full");
  expect(failing.passed).toEqual([]);
});

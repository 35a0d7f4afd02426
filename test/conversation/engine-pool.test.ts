// The engines of an isolate: loaded once each, within one memory, though others fail, vanish or are in use. Real
// engines of pocket; only their names differ.
import { beforeAll, describe, expect, it } from "vitest";
import { EnginePool, type LoadEngine as LoadPooled, type PooledEngine } from "../../src/conversation/engine-pool.ts";
import { EdgeEngine } from "../../src/engine/edge.ts";
import { loadPlaced } from "../../src/engine/load-placed.ts";
import { GriffinError } from "../../src/errors.ts";
import { opener, type Folder } from "../checkpoint/folders.ts";
import { checkpointFolder, kernelModule } from "../parity/models.ts";

type LoadEngine = LoadPooled<EdgeEngine>;

const quick = { silenceMs: 2_000, patienceMs: 400, pollMs: 2 };
const mib = 2 ** 20;
let folder: Folder;
/** What pocket takes with one slot, and with eight. */
let leastBytes: number;
let mostBytes: number;

const load: LoadEngine = (inMemory, heard) => {
  const open = opener(folder, 100_000);
  const listen = (name: string) => {
    heard();
    return open(name);
  };
  return inMemory((memoryLimitBytes) => EdgeEngine.load(kernelModule, listen, { slots: 8, memoryLimitBytes }));
};

beforeAll(async () => {
  folder = await checkpointFolder("pocket", "int8");
  const bytesOf = async (slots: number) =>
    (await EdgeEngine.load(kernelModule, opener(folder), { slots })).instance.layout.totalBytes;
  [leastBytes, mostBytes] = await Promise.all([bytesOf(1), bytesOf(8)]);
});

/** Holds a slot of an engine until it is told to let go. */
async function use(engine: EdgeEngine): Promise<() => Promise<unknown>> {
  const events = engine.generate({ tokens: [engine.config.bosTokenId, 5] });
  await events.next();
  return () => events.return(undefined as never);
}

describe("a pool of engines", () => {
  it("loads each once, for all who ask", async () => {
    const pool = new EnginePool<EdgeEngine>(64 * mib, quick);
    let loads = 0;
    const counted: LoadEngine = (...args) => (loads++, load(...args));
    const engines = await Promise.all(Array.from({ length: 20 }, () => pool.engine("a", counted)));
    expect(new Set(engines).size).toBe(1);
    expect(loads).toBe(1);
  });

  it("never lets engines that are loaded side by side take more than there is", async () => {
    const limitBytes = 3 * mostBytes;
    const pool = new EnginePool<EdgeEngine>(limitBytes, quick);
    const held: EdgeEngine[] = [];
    const sum = () => held.reduce((bytes, { instance }) => bytes + instance.layout.totalBytes, 0);
    await Promise.all(
      ["a", "b", "c"].map(async (name) => {
        const engine = await pool.engine(name, (inMemory, heard) => {
          const watched: typeof inMemory = (fill) =>
            inMemory((granted) => {
              expect(granted + sum()).toBeLessThanOrEqual(limitBytes);
              return fill(granted);
            });
          return load(watched, heard);
        });
        await use(engine);
        held.push(engine);
      }),
    );
    expect(held.length).toBe(3);
    expect(sum()).toBeLessThanOrEqual(limitBytes);
  });

  it("forgets those that nobody uses, the one asked for longest ago first, and no more than it must", async () => {
    const pool = new EnginePool<EdgeEngine>(Math.ceil(4.9 * mostBytes), quick);
    const [a, b, c] = [await pool.engine("a", load), await pool.engine("b", load), await pool.engine("c", load)];
    await pool.engine("a", load);
    await pool.engine("d", load);
    expect(await pool.engine("a", load)).toBe(a);
    expect(await pool.engine("c", load)).toBe(c);
    expect(await pool.engine("b", load)).not.toBe(b);
  });

  it("keeps those in use, and waits for them when another needs their memory", async () => {
    const pool = new EnginePool<EdgeEngine>(mostBytes + leastBytes - 1, quick);
    const a = await pool.engine("a", load);
    const release = await use(a);
    await expect(pool.engine("b", load)).rejects.toMatchObject({ code: "overloaded" });
    expect(await pool.engine("a", load)).toBe(a);
    const waiting = pool.engine("b", load);
    await new Promise((resolve) => void setTimeout(resolve, 50));
    await release();
    expect((await waiting).instance.layout.slots.length).toBe(8);
    expect(await pool.engine("a", load)).not.toBe(a);
  });

  it("makes all the room there is for a model that needs more than half of it", async () => {
    const pool = new EnginePool<EdgeEngine>(Math.ceil(1.5 * leastBytes), quick);
    const a = await pool.engine("a", load);
    expect(await pool.engine("b", load)).toBeDefined();
    expect(await pool.engine("a", load)).not.toBe(a);
    const tooSmall = new EnginePool<EdgeEngine>(leastBytes - 1, quick);
    await expect(tooSmall.engine("a", load)).rejects.toMatchObject({ code: "model_too_large" });
  });

  it("has models that run elsewhere beside all others: they take no memory, wait for none, and give none", async () => {
    const pool = new EnginePool<PooledEngine>(mostBytes, { ...quick, patienceMs: 0 });
    const withoutWeights = new Map(folder);
    withoutWeights.delete("weights.safetensors");
    const origin = { url: "http://origin.invalid", prefillTokens: 1, takesBatches: true };
    const elsewhere: LoadPooled<PooledEngine> = (inMemory) =>
      loadPlaced(kernelModule, opener(withoutWeights), { origin, wholeLimitBytes: mostBytes, inMemory });
    const far = await pool.engine("far", elsewhere);
    const release = await use((await pool.engine("a", load)) as EdgeEngine);
    expect((await pool.engine("farther", elsewhere)).memoryBytes).toBe(0);
    await release();
    await pool.engine("b", load);
    expect(await pool.engine("far", elsewhere)).toBe(far);
  });

  it("loads again where another's load failed, but not once for everybody who waits", async () => {
    const pool = new EnginePool<EdgeEngine>(64 * mib, quick);
    let loads = 0;
    const fails: LoadEngine = async () => {
      loads++;
      await new Promise((resolve) => void setTimeout(resolve, 5));
      throw new GriffinError("not_found", "There is nothing.");
    };
    const asked = Array.from({ length: 20 }, () => pool.engine("a", fails));
    const results = await Promise.allSettled(asked);
    expect(results.every(({ status }) => status === "rejected")).toBe(true);
    expect(loads).toBeLessThanOrEqual(3);
    expect(await pool.engine("a", load)).toBeDefined();
    let failures = 0;
    const failsOnce: LoadEngine = (...args) => (failures++ === 0 ? fails(...args) : load(...args));
    const [first, second] = await Promise.allSettled([pool.engine("b", failsOnce), pool.engine("b", failsOnce)]);
    expect([first.status, second.status]).toEqual(["rejected", "fulfilled"]);
  });

  it("gives up a load that died, whoever waits for it or for its memory", async () => {
    const pool = new EnginePool<EdgeEngine>(64 * mib, { silenceMs: 1_000, patienceMs: 10_000, pollMs: 2 });
    let loads = 0;
    const diesOnce: LoadEngine = (...args) => (loads++ === 0 ? new Promise(() => undefined) : load(...args));
    void pool.engine("a", diesOnce).catch(() => undefined);
    expect(await pool.engine("b", load)).toBeDefined();
    expect(await pool.engine("a", load)).toBeDefined();
  });
});

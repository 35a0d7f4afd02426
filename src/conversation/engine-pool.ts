// EnginePool: engines by name, within the memory that all may take together. Each is loaded once for all who ask, one
// load at a time, because only a loaded engine says how much it takes. In a shared isolate whoever began a load can
// vanish without a word, so those who wait look for themselves.
import type { InMemory } from "../engine/load-placed.ts";
import { GriffinError } from "../errors.ts";

/** What is looked at here of an engine. */
export interface PooledEngine {
  readonly isBroken: boolean;
  /** Whether a turn needs it. */
  readonly isBusy: boolean;
  readonly memoryBytes: number;
}

/** Loads an engine, `inMemory` as far as it takes memory, and calls `heard` whenever something of it came. */
export type LoadEngine<Engine> = (inMemory: InMemory, heard: () => void) => Promise<Engine>;

export interface PoolTimes {
  /** A load of which nothing was heard for this long has died. */
  silenceMs: number;
  /** So long a load waits for memory that others use. */
  patienceMs: number;
  /** How often those who wait look. */
  pollMs: number;
}

const defaultTimes: PoolTimes = { silenceMs: 5_000, patienceMs: 20_000, pollMs: 20 };
/** So often one caller sees a load fail that another began. */
const mostAttempts = 3;

interface Entry<Engine> {
  engine: Promise<Engine>;
  /** The engine when it is there. */
  loaded: Engine | undefined;
  /** What it takes; while it is loaded, what it may take. */
  bytes: number;
  heardMs: number;
  /** Grows with every question for any of them. */
  asked: number;
}

export class EnginePool<Engine extends PooledEngine> {
  readonly #entries = new Map<string, Entry<Engine>>();
  #questions = 0;
  readonly #limitBytes: number;
  readonly #times: PoolTimes;

  constructor(limitBytes: number, times: PoolTimes = defaultTimes) {
    this.#limitBytes = limitBytes;
    this.#times = times;
  }

  /**
   * The engine of this name, loaded if need be. Throws what `load` throws, `overloaded` while other engines use the
   * memory it needs, and `io_failed` when every load died or gave an engine that was broken by then.
   */
  async engine(name: string, load: LoadEngine<Engine>): Promise<Engine> {
    let why = "its files do not come";
    for (let attempt = 0; attempt < mostAttempts; attempt++) {
      const known = this.#entries.get(name);
      const entry = known ?? this.#begin(name, load);
      entry.asked = this.#questions++;
      try {
        const engine = await this.#heard(entry);
        if (engine !== undefined && !engine.isBroken) return engine;
        if (engine?.isBroken) why = "its kernels fail again and again";
        this.#forget(entry);
      } catch (error) {
        this.#forget(entry);
        // Another's failure may be its alone: a body it lost, a limit it met.
        if (known === undefined) throw error;
      }
    }
    throw new GriffinError("io_failed", `The model "${name}" cannot be used: ${why}.`);
  }

  #begin(name: string, load: LoadEngine<Engine>): Entry<Engine> {
    const { promise, resolve, reject } = Promise.withResolvers<Engine>();
    const entry: Entry<Engine> = { engine: promise, loaded: undefined, bytes: 0, heardMs: Date.now(), asked: 0 };
    this.#entries.set(name, entry);
    this.#load(entry, load).then(resolve, reject);
    return entry;
  }

  async #load(entry: Entry<Engine>, load: LoadEngine<Engine>): Promise<Engine> {
    const heard = () => {
      entry.heardMs = Date.now();
    };
    const engine = await load((use) => this.#inMemory(entry, use, heard), heard);
    entry.loaded = engine;
    entry.bytes = engine.memoryBytes;
    return engine;
  }

  async #inMemory<T>(entry: Entry<Engine>, use: (limitBytes: number) => Promise<T>, heard: () => void): Promise<T> {
    const untilMs = Date.now() + this.#times.patienceMs;
    // Half of the memory is enough for most, and leaves the others where they are.
    let wantedBytes = this.#limitBytes / 2;
    let tooSmallBytes = 0;
    for (;;) {
      const limitBytes = this.#makeRoom(entry, wantedBytes);
      if (limitBytes > tooSmallBytes) {
        entry.bytes = limitBytes;
        try {
          return await use(limitBytes);
        } catch (error) {
          entry.bytes = 0;
          const isTooLarge = error instanceof GriffinError && error.code === "model_too_large";
          if (!isTooLarge || limitBytes === this.#limitBytes) throw error;
          tooSmallBytes = limitBytes;
          wantedBytes = this.#limitBytes;
          continue;
        }
      }
      if (Date.now() > untilMs) {
        throw new GriffinError("overloaded", "Other models use the memory that this one needs: try again soon.");
      }
      await delay(this.#times.pollMs);
      heard();
    }
  }

  /**
   * What an entry may take; nothing while another is loaded. Engines that no turn uses are forgotten, the one asked for
   * longest ago first, until that is `wantedBytes`; those that are used stay.
   */
  #makeRoom(entry: Entry<Engine>, wantedBytes: number): number {
    const others = () => [...this.#entries.values()].filter((other) => other !== entry && !this.#hasDied(other));
    if (others().some(({ loaded, bytes }) => loaded === undefined && bytes > 0)) return 0;
    const idle = others()
      .filter(({ loaded, bytes }) => loaded?.isBusy === false && bytes > 0)
      .sort((a, b) => a.asked - b.asked);
    for (;;) {
      const roomBytes = this.#limitBytes - others().reduce((sum, { bytes }) => sum + bytes, 0);
      const oldest = idle.shift();
      if (roomBytes >= wantedBytes || oldest === undefined) return roomBytes;
      this.#forget(oldest);
    }
  }

  /** The engine, once it is loaded; undefined when nothing was heard of it for too long. */
  async #heard(entry: Entry<Engine>): Promise<Engine | undefined> {
    for (;;) {
      let timer: ReturnType<typeof setTimeout> | undefined;
      const pause = new Promise<undefined>((resolve) => {
        timer = setTimeout(() => resolve(undefined), this.#times.silenceMs / 5);
      });
      const engine = await Promise.race([entry.engine, pause]).finally(() => clearTimeout(timer));
      if (engine !== undefined || this.#hasDied(entry)) return engine;
    }
  }

  #hasDied({ loaded, heardMs }: Entry<Engine>): boolean {
    return loaded === undefined && heardMs + this.#times.silenceMs < Date.now();
  }

  #forget(entry: Entry<Engine>): void {
    for (const [name, known] of this.#entries) if (known === entry) this.#entries.delete(name);
  }
}

const delay = (ms: number) => new Promise<void>((resolve) => void setTimeout(resolve, ms));

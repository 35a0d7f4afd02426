// One turn's connection to an origin: asks for it, reads its frames, ends it by name. It waits for nothing for ever, and
// tells the circuit breaker what it saw. Only fetch, streams and timers are used, so that it runs in workerd, Node and
// browsers; it knows nothing of text and tokens.
import { GriffinError } from "../../errors.ts";
import { answerFault, readFault, type OriginFault } from "./faults.ts";
import { readFrames, type Frame, type ReadChunk } from "./frames.ts";
import type { Attempt, CircuitBreaker } from "./circuit-breaker.ts";
import { errorLimitBytes, frameKinds, originFailed, protocolHeader } from "./protocol.ts";

export type Fetch = (url: string, init: RequestInit) => Promise<Response>;

export interface OriginTimes {
  /** For the answer to begin: an origin takes its time to be sent the body. */
  answerMs: number;
  /** Without a byte of a stream: an origin that is well sends a frame every 10 s. */
  silenceMs: number;
  /** For an origin to take notice of a cancel. */
  cancelMs: number;
}

export interface OriginAddress {
  /** May have a path of its own. */
  url: string;
  /** Its bearer key, where it has one. */
  key?: string;
  fetch: Fetch;
  times: OriginTimes;
  breaker: CircuitBreaker;
}

/** Once everything was read that matters, so long is waited for the stream's end, which lets the connection be used again. */
const endMs = 1_000;
/** A turn that is not known yet may be on its way: it is cancelled again after a time, and after twice that. */
const firstCancelPauseMs = 100;
const mostCancelPauseMs = 1_000;

export class Connection {
  readonly #address: OriginAddress;
  /** Names the turn. */
  readonly #id = crypto.randomUUID();
  /** There may be several origins behind the address: all requests of one session reach the same. */
  readonly #session: string;
  readonly #attempt: Attempt;
  readonly #end = new AbortController();
  #isLost = false;
  #lossTimer: ReturnType<typeof setTimeout> | undefined;

  /** Throws `origin_failed` while the origin is left alone. `session`: of this turn alone unless told. */
  constructor(address: OriginAddress, session?: string) {
    const attempt = address.breaker.admit();
    if (attempt === null) {
      const seconds = Math.ceil(address.breaker.waitMs / 1000);
      throw originFailed(`The origin failed a moment ago; it is asked again in ${seconds} s.`);
    }
    this.#address = address;
    this.#session = session ?? this.#id;
    this.#attempt = attempt;
  }

  /** For the options of the turn. */
  get id(): string {
    return this.#id;
  }

  /** True once a cancel was not heard: the connection was cut, so that the turn ends, and its result with it. */
  get isLost(): boolean {
    return this.#isLost;
  }

  /** Sends the body; yields the answer's frames but `waiting`, the result last. Throws what an origin says, or that it broke. */
  async *frames(
    path: string,
    body: Uint8Array<ArrayBuffer>,
    resultLimitBytes: number,
  ): AsyncGenerator<Frame, void, undefined> {
    const { answerMs, silenceMs } = this.#address.times;
    const response = await this.#sound(this.#within(answerMs, this.#fetch("POST", path, body)));
    const reader = response.body?.getReader();
    const read: ReadChunk = async () => reader && (await this.#within(silenceMs, reader.read())).value;
    if (response.status !== 200 || !response.headers.has(protocolHeader)) {
      throw this.#fault(answerFault(response, await this.#sound(readUpTo(errorLimitBytes, read))));
    }
    const frames = readFrames(read, resultLimitBytes);
    for (;;) {
      const { value: frame } = await this.#sound(frames.next());
      if (frame === undefined) return await this.#sound(Promise.reject(originFailed("The origin's answer broke off.")));
      // Whoever has the turn wait is there.
      if (frame.kind === frameKinds.waiting) {
        this.#attempt.succeeded();
        continue;
      }
      if (frame.kind === frameKinds.error) throw this.#fault(readFault(frame.payload));
      this.#attempt.succeeded();
      if (frame.kind === frameKinds.result) await this.#within(endMs, read()).catch(() => undefined);
      yield frame;
      if (frame.kind === frameKinds.result) return;
    }
  }

  /** Has the origin end the turn; its frames go on to the result. An origin that takes no notice loses the connection. */
  async cancel(): Promise<void> {
    this.#lossTimer = setTimeout(() => {
      this.#isLost = true;
      this.#cut(originFailed("The origin did not end the turn."));
    }, this.#address.times.cancelMs);
    for (let pauseMs = firstCancelPauseMs; !this.#end.signal.aborted; pauseMs *= 2) {
      if (await this.#isCancelHeard()) break;
      await new Promise((resolve) => void setTimeout(resolve, Math.min(pauseMs, mostCancelPauseMs)));
    }
    clearTimeout(this.#lossTimer);
  }

  /** Lets go of it. A turn that has not ended is over for the origin too, and its state is gone. */
  close(): void {
    clearTimeout(this.#lossTimer);
    this.#cut(new GriffinError("cancelled", "The turn was given up."));
  }

  async #isCancelHeard(): Promise<boolean> {
    try {
      const response = await this.#fetch("DELETE", `/v1/generate/${this.#id}`);
      await response.body?.cancel();
      return response.status === 204;
    } catch {
      return false; // asked again, until the time for it is over
    }
  }

  #fetch(method: string, path: string, body?: Uint8Array<ArrayBuffer>): Promise<Response> {
    const { url, key, fetch } = this.#address;
    const headers = {
      "x-session-id": this.#session,
      ...(body && { "content-type": "application/octet-stream" }),
      ...(key && { authorization: `Bearer ${key}` }),
    };
    // Elsewhere nobody may learn the key.
    return fetch(url.replace(/\/+$/, "") + path, {
      method,
      headers,
      body: body ?? null,
      redirect: "manual",
      signal: this.#end.signal,
    });
  }

  /** What is waited for, unless the connection is cut; when the time is over, it is. */
  async #within<T>(ms: number, promise: Promise<T>): Promise<T> {
    const { signal } = this.#end;
    const { promise: end, reject } = Promise.withResolvers<never>();
    const stop = () => reject(signal.reason);
    if (signal.aborted) stop();
    signal.addEventListener("abort", stop);
    const timer = setTimeout(() => this.#cut(originFailed(`The origin was silent for ${ms / 1000} s.`)), ms);
    try {
      return await Promise.race([promise, end]);
    } finally {
      clearTimeout(timer);
      signal.removeEventListener("abort", stop);
    }
  }

  #cut(reason: GriffinError): void {
    this.#end.abort(reason);
  }

  /** What an origin that is well gives; anything else is told to the breaker, unless we cut the connection ourselves. */
  async #sound<T>(given: Promise<T>): Promise<T> {
    try {
      return await given;
    } catch (cause) {
      if (!this.#isLost) this.#attempt.failed();
      if (cause instanceof GriffinError) throw cause;
      throw originFailed("The origin cannot be reached, or its answer broke off.", cause);
    }
  }

  /** An origin that can say what is wrong is there; one that has no room asks to be left alone. */
  #fault({ error, isBusy, retryAfterMs }: OriginFault): GriffinError {
    if (isBusy) this.#attempt.failed(retryAfterMs);
    else this.#attempt.succeeded();
    return error;
  }
}

/** At most so many bytes of a body; what follows is left. */
async function readUpTo(limitBytes: number, read: ReadChunk): Promise<Uint8Array> {
  const bytes = new Uint8Array(limitBytes);
  let length = 0;
  for (let chunk = await read(); chunk !== undefined && length < limitBytes; chunk = await read()) {
    const piece = chunk.subarray(0, limitBytes - length);
    bytes.set(piece, length);
    length += piece.byteLength;
  }
  return bytes.subarray(0, length);
}

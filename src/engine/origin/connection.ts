// One turn's connection to an origin: asks for it, reads its frames, ends it by name. It waits for nothing for ever, and
// tells the circuit breaker what it saw. Only fetch, streams and timers are used, so that it runs in workerd and
// Node; it knows nothing of text and tokens.
import { GriffinError } from "../../errors.ts";
import { answerFault, readFault, type OriginFault } from "./faults.ts";
import { readFrames, type Frame, type ReadChunk } from "./frames.ts";
import type { Attempt, CircuitBreaker } from "./circuit-breaker.ts";
import { streamOf } from "./pieces.ts";
import { errorLimitBytes, frameKinds, originAway, originFailed, protocolHeader } from "./protocol.ts";

export type Fetch = (url: string, init: RequestInit) => Promise<Response>;

export interface OriginTimes {
  /** For the answer to begin, which takes an origin as long as it is sent the body; and for all of an error. */
  answerMs: number;
  /** Without a byte of a stream: an origin that is well sends a frame every 10 s. */
  silenceMs: number;
  /** Without a token or the result, whatever else comes: longer than a long prompt is read. */
  progressMs: number;
  /** For an origin to take notice of a cancel, */
  cancelMs: number;
  /** and then for the turn to end: what it replied before may have to be read. */
  endingMs: number;
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
/** An origin that says what cannot be is another program, or a broken one: it is not asked for so long. */
const disbeliefMs = 60_000;
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
  /** A cancel was in vain, and the connection was cut, so that the turn ends. */
  #isLost = false;
  #lossTimer: ReturnType<typeof setTimeout> | undefined;

  /** Throws `origin_away` or `origin_failed` while the origin is left alone. `session`: of this turn alone unless told. */
  constructor(address: OriginAddress, session?: string) {
    const attempt = address.breaker.admit();
    if (attempt === null) throw leftAlone(address.breaker);
    this.#address = address;
    this.#session = session ?? this.#id;
    this.#attempt = attempt;
  }

  /** For the options of the turn. */
  get id(): string {
    return this.#id;
  }

  /** Sends the pieces of a body; yields the answer's frames, the result last. Throws what an origin says, or that it broke. */
  async *frames(
    path: string,
    body: readonly Uint8Array[],
    resultLimitBytes: number,
  ): AsyncGenerator<Frame, void, undefined> {
    const { answerMs, silenceMs, progressMs } = this.#address.times;
    const noAnswer = () => originAway(`The origin did not answer for ${answerMs / 1000} s.`);
    const answer = this.#within(answerMs, this.#fetch("POST", path, body), noAnswer);
    const response = await this.#sound(answer, (cause) => originAway("The origin cannot be reached.", cause));
    const reader = response.body?.getReader();
    let untilMs = Date.now() + answerMs;
    const read: ReadChunk = async () => {
      const leftMs = untilMs - Date.now();
      const isSlow = leftMs < silenceMs;
      const reason = isSlow ? "takes too long: nothing but signs of life came" : `was silent for ${silenceMs / 1000} s`;
      const late = () => originFailed(`The origin ${reason}.`);
      return reader && (await this.#within(isSlow ? leftMs : silenceMs, reader.read(), late)).value;
    };
    if (response.status !== 200 || !response.headers.has(protocolHeader)) {
      const said = await this.#sound(readUpTo(errorLimitBytes, read));
      throw this.#fault(this.believed(() => answerFault(response, said)));
    }
    const frames = readFrames(read, resultLimitBytes);
    untilMs = Date.now() + progressMs;
    for (;;) {
      const { value: frame } = await this.#sound(frames.next());
      if (frame === undefined) return await this.#sound(Promise.reject(originFailed("The origin's answer broke off.")));
      if (frame.kind === frameKinds.error) throw this.#fault(this.believed(() => readFault(frame.payload)));
      // Whoever has the turn wait is there, too.
      this.#attempt.succeeded();
      if (frame.kind === frameKinds.result) await this.#within(endMs, read(), noAnswer).catch(() => undefined);
      yield frame;
      if (frame.kind === frameKinds.result) return;
      if (frame.kind !== frameKinds.waiting) untilMs = Date.now() + progressMs;
    }
  }

  /** What `read` makes of what the origin sent. One that sent what cannot be, for which that throws, is left alone. */
  believed<T>(read: () => T): T {
    try {
      return read();
    } catch (error) {
      this.#attempt.failed(disbeliefMs, true);
      throw error;
    }
  }

  /** Has the origin end the turn; its frames go on to the result. An origin that does not end it loses the connection. */
  async cancel(): Promise<void> {
    const { cancelMs, endingMs } = this.#address.times;
    this.#loseAfter(cancelMs);
    for (let pauseMs = firstCancelPauseMs; !this.#end.signal.aborted; pauseMs *= 2) {
      if (await this.#isCancelHeard()) return this.#loseAfter(endingMs);
      await new Promise((resolve) => void setTimeout(resolve, Math.min(pauseMs, mostCancelPauseMs)));
    }
  }

  /** Lets go of it. A turn that has not ended is over for the origin too, and its state is gone. */
  close(): void {
    clearTimeout(this.#lossTimer);
    this.#cut(new GriffinError("cancelled", "The turn was given up."));
  }

  #loseAfter(ms: number): void {
    clearTimeout(this.#lossTimer);
    if (this.#end.signal.aborted) return;
    this.#lossTimer = setTimeout(() => {
      this.#isLost = true;
      this.#cut(originFailed("The origin did not end the turn."));
    }, ms);
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

  #fetch(method: string, path: string, body?: readonly Uint8Array[]): Promise<Response> {
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
      ...(body && { body: streamOf(body), duplex: "half" }),
      redirect: "manual",
      signal: this.#end.signal,
    });
  }

  /** What is waited for, unless the connection is cut; when the time is over, it is, for being `late`. */
  async #within<T>(ms: number, promise: Promise<T>, late: () => GriffinError): Promise<T> {
    const { signal } = this.#end;
    const { promise: end, reject } = Promise.withResolvers<never>();
    const stop = () => reject(signal.reason);
    if (signal.aborted) stop();
    signal.addEventListener("abort", stop);
    const timer = setTimeout(() => this.#cut(late()), ms);
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
  async #sound<T>(given: Promise<T>, failure = brokeOff): Promise<T> {
    try {
      return await given;
    } catch (cause) {
      if (!this.#isLost) this.#attempt.failed();
      throw cause instanceof GriffinError ? cause : failure(cause);
    }
  }

  /** An origin that can say what is wrong is there; it may still ask to be left alone. */
  #fault({ error, restMs }: OriginFault): GriffinError {
    if (restMs === null) this.#attempt.succeeded();
    else this.#attempt.failed(restMs, error.code !== "origin_away");
    return error;
  }
}

const brokeOff = (cause: unknown) => originFailed("The origin's answer broke off.", cause);

/** Why nobody may ask at the moment. */
export function leftAlone({ waitMs, isLasting }: CircuitBreaker): GriffinError {
  const [fault, what] = isLasting ? [originFailed, "fails, and not in passing"] : [originAway, "is away"];
  return fault(`The origin of this model ${what}; it is asked again in ${Math.ceil(waitMs / 1000)} s.`);
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

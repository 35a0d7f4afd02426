// Frames of a stream: one byte of kind, u32 length, payload. Reads on only when asked, and holds no more than one frame
// and the chunk that its last bytes came in. What is longer than its kind may be is refused before it is read.
import { errorLimitBytes, frameKinds, originFailed, tokensLimitBytes } from "./protocol.ts";

export interface Frame {
  kind: number;
  payload: Uint8Array<ArrayBuffer>;
}

/** The next bytes of a stream, however many; undefined at its end. */
export type ReadChunk = () => Promise<Uint8Array | undefined>;

const headBytes = 5;

/** The frames of a stream, those of unknown kinds left out. Throws `origin_failed` where it is cut off, or too long. */
export async function* readFrames(read: ReadChunk, resultLimitBytes: number): AsyncGenerator<Frame, void, undefined> {
  const limits = new Map<number, number>([
    [frameKinds.waiting, 0],
    [frameKinds.tokens, tokensLimitBytes],
    [frameKinds.result, resultLimitBytes],
    [frameKinds.error, errorLimitBytes],
  ]);
  const source = byteSource(read);
  while (!(await source.isAtEnd())) {
    const head = new Uint8Array(headBytes);
    await source.take(headBytes, (piece, at) => head.set(piece, at));
    const kind = head[0] ?? 0;
    const bytes = new DataView(head.buffer).getUint32(1, true);
    const limitBytes = limits.get(kind);
    if (limitBytes === undefined) {
      await source.take(bytes, () => undefined);
      continue;
    }
    if (bytes > limitBytes) {
      throw originFailed(`The origin sent a frame of kind ${kind} with ${bytes} bytes; it may have ${limitBytes}.`);
    }
    const payload = new Uint8Array(bytes);
    await source.take(bytes, (piece, at) => payload.set(piece, at));
    yield { kind, payload };
  }
}

function byteSource(read: ReadChunk) {
  let chunk: Uint8Array | undefined = new Uint8Array();
  const isAtEnd = async () => {
    while (chunk !== undefined && chunk.byteLength === 0) chunk = await read();
    return chunk === undefined;
  };
  return {
    isAtEnd,
    /** Hands over the next `bytes` bytes piece by piece, each with its place. */
    async take(bytes: number, put: (piece: Uint8Array, at: number) => void): Promise<void> {
      for (let at = 0; at < bytes;) {
        if ((await isAtEnd()) || chunk === undefined) throw originFailed("The origin's answer broke off in a frame.");
        const piece = chunk.subarray(0, bytes - at);
        chunk = chunk.subarray(piece.byteLength);
        put(piece, at);
        at += piece.byteLength;
      }
    },
  };
}

// A body in pieces: a state may have many MB, and is sent from where it lies.

/** Of workerd: a stream whose length is known, so that the request says it. */
type FixedLength = new (bytes: number) => TransformStream<Uint8Array, Uint8Array>;

/** The pieces as one stream, none of them copied. */
export function streamOf(pieces: readonly Uint8Array[]): ReadableStream<Uint8Array> {
  const left = pieces.values();
  const stream = new ReadableStream<Uint8Array>({
    pull(controller) {
      const { done, value } = left.next();
      if (done) controller.close();
      else controller.enqueue(value);
    },
  });
  const { FixedLengthStream } = globalThis as { FixedLengthStream?: FixedLength };
  if (FixedLengthStream === undefined) return stream;
  return stream.pipeThrough(new FixedLengthStream(pieces.reduce((sum, { byteLength }) => sum + byteLength, 0)));
}

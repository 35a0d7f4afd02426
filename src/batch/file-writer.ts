// FileWriter: a file of unknown length, written to R2 piece by piece with no more than one part of it in memory. R2 takes
// a stream only with its length; what is longer than a part is uploaded in parts, all of one size but the last.
// https://developers.cloudflare.com/r2/objects/upload-objects/#multipart-upload-details
import type { FileBucket } from "./env.ts";

/** The smallest that R2 takes. */
export const partBytes = 5 * 2 ** 20;

type Upload = Awaited<ReturnType<FileBucket["createMultipartUpload"]>>;

export class FileWriter {
  readonly #bucket: FileBucket;
  readonly #key: string;
  #buffer = new Uint8Array(2 ** 16);
  #filled = 0;
  #upload: Upload | undefined;
  readonly #parts: Awaited<ReturnType<Upload["uploadPart"]>>[] = [];
  #bytes = 0;

  constructor(bucket: FileBucket, key: string) {
    this.#bucket = bucket;
    this.#key = key;
  }

  /** So far. */
  get bytes(): number {
    return this.#bytes;
  }

  async write(piece: Uint8Array): Promise<void> {
    this.#bytes += piece.byteLength;
    for (let from = 0; from < piece.byteLength;) {
      const some = piece.subarray(from, from + partBytes - this.#filled);
      this.#grow(this.#filled + some.byteLength);
      this.#buffer.set(some, this.#filled);
      this.#filled += some.byteLength;
      from += some.byteLength;
      if (this.#filled === partBytes) await this.#flush();
    }
  }

  /** The file is there, whole, when this is done. */
  async end(): Promise<void> {
    const rest = this.#buffer.subarray(0, this.#filled);
    if (this.#upload === undefined) return void (await this.#bucket.put(this.#key, rest));
    if (rest.byteLength > 0) await this.#flush();
    await this.#upload.complete(this.#parts);
  }

  /** Nothing was written. */
  async abort(): Promise<void> {
    await this.#upload?.abort();
  }

  async #flush(): Promise<void> {
    this.#upload ??= await this.#bucket.createMultipartUpload(this.#key);
    this.#parts.push(await this.#upload.uploadPart(this.#parts.length + 1, this.#buffer.subarray(0, this.#filled)));
    this.#filled = 0;
  }

  #grow(bytes: number): void {
    if (bytes <= this.#buffer.byteLength) return;
    const larger = new Uint8Array(Math.min(partBytes, Math.max(bytes, 2 * this.#buffer.byteLength)));
    larger.set(this.#buffer.subarray(0, this.#filled));
    this.#buffer = larger;
  }
}

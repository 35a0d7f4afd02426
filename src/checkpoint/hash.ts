// SHA-256 over bytes that arrive in pieces. The default runs anywhere; a caller with a native one passes it instead.
import { sha256 } from "@noble/hashes/sha2.js";
import { bytesToHex } from "@noble/hashes/utils.js";

/** Starts a SHA-256; `@noble/hashes` and node:crypto's `createHash("sha256")` both fit. */
export type CreateHash = () => { update(bytes: Uint8Array): unknown; digest(): Uint8Array };

/** SHA-256 in portable JavaScript. */
export const portableHash: CreateHash = () => sha256.create();

/** Counts and hashes bytes on their way to or from a file. */
export function digestFile(createHash: CreateHash = portableHash) {
  const hash = createHash();
  let bytes = 0;
  return {
    update(piece: Uint8Array): void {
      hash.update(piece);
      bytes += piece.byteLength;
    },
    /** What model.json says about a file. Ends the hash. */
    entry: (): FileEntry => ({ bytes, sha256: bytesToHex(hash.digest()) }),
  };
}

/** Size and lower-case hex SHA-256 of a file. */
export interface FileEntry {
  bytes: number;
  sha256: string;
}

/** What model.json says about a file with these bytes. */
export function fileEntry(bytes: Uint8Array, createHash?: CreateHash): FileEntry {
  const digest = digestFile(createHash);
  digest.update(bytes);
  return digest.entry();
}

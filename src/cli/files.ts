// Folders on disk, as the function types that checkpoint/ reads and writes through. The only place with node:fs.
import { createReadStream } from "node:fs";
import { mkdir, open, realpath, rename, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { Readable } from "node:stream";
import type { Target } from "../checkpoint/convert.ts";
import type { OpenFile } from "../checkpoint/load.ts";
import type { Source } from "../checkpoint/source.ts";
import { GriffinError } from "../errors.ts";

/** The size of a file; null where there is none. */
async function fileSize(path: string): Promise<number | null> {
  const found = await stat(path).catch((error: unknown) => {
    if (isMissing(error)) return null;
    throw error;
  });
  return found?.isFile() ? found.size : null;
}

const isMissing = (error: unknown): boolean =>
  error instanceof Error && "code" in error && (error.code === "ENOENT" || error.code === "ENOTDIR");

/** A folder to convert from. */
export function folderSource(folder: string): Source {
  return {
    size: (file) => fileSize(join(folder, file)),
    async read(file, offsetBytes, lengthBytes) {
      const handle = await open(join(folder, file));
      try {
        const bytes = new Uint8Array(lengthBytes);
        let done = 0;
        while (done < lengthBytes) {
          const { bytesRead } = await handle.read(bytes, done, lengthBytes - done, offsetBytes + done);
          if (bytesRead === 0) {
            throw new GriffinError(
              "invalid_checkpoint",
              `${file} is truncated: expected ${lengthBytes} bytes at ${offsetBytes}, got ${done}.`,
            );
          }
          done += bytesRead;
        }
        return bytes;
      } finally {
        await handle.close();
      }
    },
  };
}

/** A folder to convert to; made if need be. */
export function folderTarget(folder: string): Target {
  return {
    async create(file) {
      await mkdir(folder, { recursive: true });
      const handle = await open(join(folder, file), "w");
      return {
        async write(bytes) {
          for (let done = 0; done < bytes.byteLength;) {
            done += (await handle.write(bytes, done, bytes.byteLength - done)).bytesWritten;
          }
        },
        async close() {
          try {
            await handle.sync();
          } finally {
            await handle.close();
          }
        },
      };
    },
    rename: (from, to) => rename(join(folder, from), join(folder, to)),
    remove: (file) => rm(join(folder, file), { force: true }),
  };
}

/** Opens the files of a checkpoint folder. */
export function openFolder(folder: string): OpenFile {
  return async (name) => {
    const path = join(folder, name);
    if ((await fileSize(path)) === null) {
      throw new GriffinError("not_found", `${path} does not exist. Make a checkpoint with \`griffin convert\`.`);
    }
    // Node types its web streams apart from the platform's, which they are.
    return Readable.toWeb(createReadStream(path, { highWaterMark: 2 ** 20 })) as ReadableStream<Uint8Array>;
  };
}

/** Whether two paths are one existing folder. */
export async function isSameFolder(a: string, b: string): Promise<boolean> {
  const [left, right] = await Promise.all([a, b].map((path) => realpath(path).catch(() => null)));
  return left !== null && left === right;
}

// Folders on disk, as the function types that checkpoint/ reads and writes through. What the system refuses comes out
// as a GriffinError that names the path and the reason; every subcommand opens its files here.
import { type FileHandle, mkdir, open, readFile, realpath, rename, stat, unlink } from "node:fs/promises";
import { join } from "node:path";
import { getSystemErrorMap } from "node:util";
import type { FileWriter, Target } from "../checkpoint/convert.ts";
import type { OpenFile } from "../checkpoint/load.ts";
import type { Source } from "../checkpoint/source.ts";
import { GriffinError } from "../errors.ts";

/** What a stream of a file hands on at a time. */
const pieceBytes = 2 ** 20;

/** Does what `what` says, such as "read model.json"; where the system refuses, says so in one sentence. */
async function attempt<T>(what: string, work: () => Promise<T>): Promise<T> {
  return work().catch((error: unknown) => {
    throw systemError(what, error) ?? error;
  });
}

/** A refusal of the operating system as a GriffinError; undefined for any other error. */
export function systemError(what: string, error: unknown): GriffinError | undefined {
  if (!(error instanceof Error) || !("errno" in error) || typeof error.errno !== "number") return undefined;
  const [name, reason] = getSystemErrorMap().get(error.errno) ?? [String(error.errno), error.message];
  const code = name === "ENOENT" ? "not_found" : "io_failed";
  return new GriffinError(code, `Cannot ${what}: ${reason} (${name}).`, { cause: error });
}

const isMissing = (error: unknown): boolean =>
  error instanceof Error && "code" in error && (error.code === "ENOENT" || error.code === "ENOTDIR");

/** The size of a file; null where there is none. */
async function fileSize(path: string): Promise<number | null> {
  const found = await attempt(`look for ${path}`, () =>
    stat(path).catch((error: unknown) => {
      if (isMissing(error)) return null;
      throw error;
    }),
  );
  return found?.isFile() ? found.size : null;
}

/** The text of a file. */
export function readText(path: string): Promise<string> {
  return attempt(`read ${path}`, () => readFile(path, "utf8"));
}

/** A whole file. */
export function readBytes(path: string): Promise<Uint8Array<ArrayBuffer>> {
  return attempt(`read ${path}`, () => readFile(path));
}

/** Creates or empties a file. */
export async function createFile(path: string): Promise<FileWriter> {
  const handle = await attempt(`write ${path}`, () => open(path, "w"));
  return {
    write: (bytes) =>
      attempt(`write ${path}`, async () => {
        for (let done = 0; done < bytes.byteLength;) {
          done += (await handle.write(bytes, done, bytes.byteLength - done)).bytesWritten;
        }
      }),
    close: () => attempt(`write ${path}`, () => sync(handle).finally(() => handle.close())),
  };
}

/** Resolves when the bytes are on the disk, or where there is none: pipes and devices answer EINVAL. */
async function sync(handle: FileHandle): Promise<void> {
  if ((await handle.stat()).isFile()) await handle.sync();
}

/** Removes a file, if it is one and there: never a device that was written to. */
export async function removeFile(path: string): Promise<void> {
  if ((await fileSize(path)) !== null) await attempt(`remove ${path}`, () => unlink(path));
}

/** A folder to convert from. */
export function folderSource(folder: string): Source {
  return {
    size: (file) => fileSize(join(folder, file)),
    async read(file, offsetBytes, lengthBytes) {
      const path = join(folder, file);
      const handle = await attempt(`read ${path}`, () => open(path));
      try {
        const bytes = new Uint8Array(lengthBytes);
        let done = 0;
        while (done < lengthBytes) {
          const { bytesRead } = await attempt(`read ${path}`, () =>
            handle.read(bytes, done, lengthBytes - done, offsetBytes + done),
          );
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
      await attempt(`make the folder ${folder}`, () => mkdir(folder, { recursive: true }));
      return createFile(join(folder, file));
    },
    async rename(from, to) {
      const path = join(folder, to);
      await attempt(`replace ${path}`, () => rename(join(folder, from), path));
    },
    async remove(file) {
      const path = join(folder, file);
      await attempt(`remove ${path}`, () =>
        unlink(path).catch((error: unknown) => {
          if (!isMissing(error)) throw error;
        }),
      );
    },
  };
}

/** Opens the files of a checkpoint folder. */
export function openFolder(folder: string): OpenFile {
  return async (name) => {
    const path = join(folder, name);
    if ((await fileSize(path)) === null) {
      throw new GriffinError("not_found", `${path} does not exist. Make a checkpoint with \`griffin convert\`.`);
    }
    const handle = await attempt(`read ${path}`, () => open(path));
    return new ReadableStream({
      async pull(controller) {
        const piece = new Uint8Array(pieceBytes);
        const { bytesRead } = await attempt(`read ${path}`, () => handle.read(piece)).catch(async (error: unknown) => {
          await handle.close();
          throw error;
        });
        if (bytesRead > 0) return controller.enqueue(piece.subarray(0, bytesRead));
        await handle.close();
        controller.close();
      },
      cancel: () => handle.close(),
    });
  };
}

/** Whether two paths are one existing folder. */
export async function isSameFolder(a: string, b: string): Promise<boolean> {
  const [left, right] = await Promise.all([a, b].map((path) => realpath(path).catch(() => null)));
  return left !== null && left === right;
}

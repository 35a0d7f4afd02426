// Compiles wasm/index.ts to dist/: `node wasm/build.ts`. The modules have no imports and export their memory. There are
// two: griffin.wasm runs wherever there is SIMD; griffin-relaxed.wasm uses the one relaxed instruction whose result is
// the same everywhere (dot.ts), so both give the same bits.
import { mkdir, readFile, readdir, rename, stat, writeFile } from "node:fs/promises";
import path from "node:path";

const root = path.resolve(import.meta.dirname, "..");
const sources = path.join(root, "wasm");

const flags = ["-O3", "--noAssert", "--runtime", "stub", "--use", "abort="];
const features = { plain: "simd,bulk-memory", relaxed: "simd,bulk-memory,relaxed-simd" };
/** Which instructions a module uses. */
export type Variant = keyof typeof features;
const outputs: Record<Variant, string> = {
  plain: path.join(root, "dist/griffin.wasm"),
  relaxed: path.join(root, "dist/griffin-relaxed.wasm"),
};

/** Compiles a source file of wasm/, or the source text given under that name, and returns the module's bytes. */
export async function compile(
  entry: string,
  variant: Variant = "plain",
  text?: string,
): Promise<Uint8Array<ArrayBuffer>> {
  // Half a second to load, so only where there is something to compile.
  const { default: asc } = await import("assemblyscript/asc");
  const name = `wasm/${entry}`;
  let binary: Uint8Array | undefined;
  const options = ["--enable", features[variant], "--baseDir", root, "--outFile", "out.wasm"];
  const { error, stderr } = await asc.main([name, ...flags, ...options], {
    readFile: async (file, base) =>
      file === name && text !== undefined ? text : readFile(path.resolve(base, file), "utf8").catch(() => null),
    writeFile: (_file, contents) => {
      if (typeof contents !== "string") binary = contents;
    },
    listFiles: () => null,
  });
  if (error || !binary) throw new Error(`${name} does not compile.\n${stderr.toString()}`, { cause: error });
  return new Uint8Array(binary);
}

/** Brings a module in dist/ up to date and returns its path; does nothing when it is newer than every source. */
export async function build(variant: Variant = "plain"): Promise<string> {
  const output = outputs[variant];
  if ((await modifiedMs([output])) < (await modifiedMs(await sourceFiles()))) {
    await mkdir(path.dirname(output), { recursive: true });
    // Written aside and renamed, so that a test running beside this one never reads half a module.
    const aside = `${output}.${crypto.randomUUID()}`;
    await writeFile(aside, await compile("index.ts", variant));
    await rename(aside, output);
  }
  return output;
}

async function sourceFiles(): Promise<string[]> {
  const names = await readdir(sources);
  return names.filter((name) => name.endsWith(".ts")).map((name) => path.join(sources, name));
}

/** The time of the newest of these files, 0 where there is none. */
async function modifiedMs(files: string[]): Promise<number> {
  const times = await Promise.all(files.map(async (file) => (await stat(file).catch(() => null))?.mtimeMs ?? 0));
  return Math.max(...times);
}

if (import.meta.main) {
  for (const variant of ["plain", "relaxed"] as const) console.log(path.relative(process.cwd(), await build(variant)));
}

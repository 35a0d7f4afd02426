// Compiles wasm/index.ts to dist/: `node wasm/build.ts`. There are three modules, and all give the same bits: griffin.wasm
// runs wherever there is SIMD; griffin-relaxed.wasm uses the one relaxed instruction whose result is the same everywhere
// (block_dot.ts); griffin-threads.wasm does so too, over a memory that several threads share and that it imports.
import { mkdir, readFile, readdir, rename, stat, writeFile } from "node:fs/promises";
import path from "node:path";

const root = path.resolve(import.meta.dirname, "..");
const sources = path.join(root, "wasm");

const flags = ["-O3", "--noAssert", "--runtime", "stub", "--use", "abort="];
const relaxed = "simd,bulk-memory,relaxed-simd";
/** What a module is built for, and the file it becomes. */
const variants = {
  plain: { file: "griffin.wasm", options: ["--enable", "simd,bulk-memory"] },
  relaxed: { file: "griffin-relaxed.wasm", options: ["--enable", relaxed] },
  threads: {
    file: "griffin-threads.wasm",
    options: ["--enable", `${relaxed},threads`, "--importMemory", "--sharedMemory", "--maximumMemory", "65535"],
  },
};
export type Variant = keyof typeof variants;

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
  const options = [...variants[variant].options, "--baseDir", root, "--outFile", "out.wasm"];
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
  const output = path.join(root, "dist", variants[variant].file);
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
  for (const variant of Object.keys(variants) as Variant[])
    console.log(path.relative(process.cwd(), await build(variant)));
}

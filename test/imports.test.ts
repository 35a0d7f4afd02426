import { glob, readFile } from "node:fs/promises";
import path from "node:path";
import { builtinModules } from "node:module";
import { describe, expect, it } from "vitest";

const root = path.resolve(import.meta.dirname, "..");

/** Folder of src → folders it may import from, besides itself and errors.ts. */
const allowed: Record<string, readonly string[]> = {
  http: ["conversation", "batch", "inbox", "outbox", "tenant", "model"],
  batch: ["conversation", "outbox", "model"],
  inbox: ["conversation", "outbox", "model"],
  conversation: ["engine", "model", "outbox", "tenant"],
  outbox: [],
  tenant: [],
  engine: ["model", "checkpoint"],
  checkpoint: ["model"],
  model: [],
  page: [],
  cli: ["checkpoint", "engine", "model"],
};
/** Package → folders and files of src that may import it; every other package may be imported anywhere. */
const reserved: Record<string, readonly string[]> = {
  hono: ["http"],
  "cloudflare:workers": ["conversation", "batch", "inbox", "outbox", "tenant", "worker.ts"],
  commander: ["cli"],
  "cli-progress": ["cli"],
  "onnxruntime-web": ["cli"],
};

interface Import {
  file: string;
  specifier: string;
}

/** Every import and re-export of the TypeScript files of a folder. */
async function importsOf(folder: string): Promise<Import[]> {
  const imports: Import[] = [];
  for await (const file of glob(`${folder}/**/*.ts`, { cwd: root })) {
    const text = await readFile(path.join(root, file), "utf8");
    for (const [, specifier] of text.matchAll(/(?:^|\s)(?:import|from)\s*\(?\s*["']([^"']+)["']/gm)) {
      imports.push({ file, specifier: specifier! });
    }
  }
  return imports;
}

/** What is wrong with an import of src, if anything. */
function fault({ file, specifier }: Import): string | undefined {
  const [, room = ""] = file.split("/");
  const say = (why: string) => `${file} imports ${specifier}: ${why}`;
  if (specifier.startsWith(".")) {
    const target = path.join(path.dirname(file), specifier).split("/");
    if (specifier === "../../dist/griffin-relaxed.wasm")
      return room === "conversation" ? undefined : say("it is passed in");
    if (target[0] !== "src") return say("src imports nothing outside itself");
    if (!specifier.endsWith(".ts")) return say("imports name the file with its ending");
    const isFree = room === "worker.ts" || target[1] === room || target[1] === "errors.ts";
    return isFree || allowed[room]?.includes(target[1]!) ? undefined : say(`${room} may not import ${target[1]}`);
  }
  const name = specifier.startsWith("@") ? specifier.split("/").slice(0, 2).join("/") : specifier.split("/")[0]!;
  const isNode = specifier.startsWith("node:") || builtinModules.includes(name);
  if (isNode && room !== "cli") return say("only src/cli runs in Node alone");
  return reserved[name] && !reserved[name].includes(room) ? say(`only ${reserved[name].join(", ")} may`) : undefined;
}

describe("imports", () => {
  it("follow the table of folders in src", async () => {
    const imports = await importsOf("src");
    expect(imports.length).toBeGreaterThan(50);
    expect(imports.map(fault).filter(Boolean)).toEqual([]);
  });

  it("name a folder of the table, or errors.ts", async () => {
    const rooms = new Set((await importsOf("src")).map(({ file }) => file.split("/")[1]!));
    expect([...rooms].filter((room) => !(room in allowed) && !["errors.ts", "worker.ts"].includes(room))).toEqual([]);
  });

  it("stay inside wasm, except the build's own", async () => {
    const imports = (await importsOf("wasm")).filter(({ file }) => file !== "wasm/build.ts");
    expect(imports.filter(({ specifier }) => !specifier.startsWith("./"))).toEqual([]);
  });

  it("are refused where the table does not allow them", () => {
    expect(fault({ file: "src/model/a.ts", specifier: "../engine/plan.ts" })).toMatch("model may not import engine");
    expect(fault({ file: "src/engine/a.ts", specifier: "node:fs" })).toMatch("only src/cli");
    expect(fault({ file: "src/engine/a.ts", specifier: "commander" })).toMatch("only cli");
    expect(fault({ file: "src/engine/a.ts", specifier: "../../test/x.ts" })).toMatch("outside itself");
    expect(fault({ file: "src/engine/a.ts", specifier: "../model/state.ts" })).toBeUndefined();
  });
});

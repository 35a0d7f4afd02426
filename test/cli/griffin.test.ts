// The griffin program as a user runs it: the built file, in a process of its own.
import { spawn } from "node:child_process";
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { fileEntry } from "../../src/checkpoint/hash.ts";
import { readGolden } from "../reference/golden.ts";
import { readTensors } from "../reference/safetensors.ts";
import { maxDifference } from "../parity/models.ts";
import { griffin, outcomeOf } from "./program.ts";

const root = path.resolve(import.meta.dirname, "../..");
const temporary = mkdtempSync(path.join(tmpdir(), "griffin-cli-"));
const inTemporary = (name: string) => path.join(temporary, name);
afterAll(() => rmSync(temporary, { recursive: true }));

const tokensFile = (name: string, tokens: unknown) => {
  writeFileSync(inTemporary(name), typeof tokens === "string" ? tokens : JSON.stringify(tokens));
  return inTemporary(name);
};

describe("griffin run", () => {
  it("streams a story to a prompt", async () => {
    const { status, stdout } = await griffin(["run", "models/pocket", "--prompt", "Tell me a story about a fox."]);
    expect(status).toBe(0);
    expect(stdout).toMatch(/fox/);
    expect(stdout.length).toBeGreaterThan(100);
    expect(stdout).toMatch(/\.\n$/);
  });

  it("chats: remembers a name told many turns ago, far beyond the window", async () => {
    const lines = ["My name is Ada.", "Tell me a story about a fox.", "What is 7 plus 5?", "What is my name?"];
    const { status, stdout } = await griffin(["run", "models/pocket", "--chat"], `${lines.join("\n")}\n`);
    expect(status).toBe(0);
    expect(stdout.trimEnd().split("\n").at(-1)).toMatch(/Ada/);
    expect(stdout).toMatch(/12/);
  });

  it("gives the same reply for the same seed and another for another", async () => {
    const ask = async (seed: string) =>
      (await griffin(["run", "models/pocket", "--prompt", "Tell me a story.", "--temperature", "1", "--seed", seed]))
        .stdout;
    const [a, b, other] = [await ask("5"), await ask("5"), await ask("6")];
    expect(a).toBe(b);
    expect(other).not.toBe(a);
  });

  it("ends in silence when its reader has read enough", async () => {
    for (const command of ['run models/pocket --prompt "Tell me a story."', "plan models/pocket --tokens 5"]) {
      const pipe = `{ "${process.execPath}" dist/griffin.js ${command}; echo "status $?" >&2; } | head -c 5`;
      const { stdout, stderr } = await outcomeOf(spawn("sh", ["-c", pipe], { cwd: root }));
      expect(stdout).toHaveLength(5);
      expect(stderr).toBe("status 0\n");
    }
  });

  it("says in one line that its output cannot be written", async () => {
    const command = `"${process.execPath}" dist/griffin.js run models/pocket --prompt "Tell me a story." > /dev/full`;
    const { status, stderr } = await outcomeOf(spawn("sh", ["-c", command], { cwd: root }));
    expect(status).toBe(1);
    expect(stderr).toBe("griffin: Cannot write to standard output: no space left on device (ENOSPC).\n");
  });

  it("stops where it is told to", async () => {
    const prompt = ["run", "models/pocket", "--prompt", "Count from 3 to 9."];
    expect((await griffin([...prompt, "--stop", "7"])).stdout).toBe("3, 4, 5, 6, \n");
    expect((await griffin([...prompt, "--max-tokens", "0"])).stdout).toBe("\n");
  });

  it("says what is missing when the checkpoint has no tokenizer", async () => {
    await griffin(["convert", "test/golden/tiny", inTemporary("tiny"), "--quiet"]);
    const { status, stderr } = await griffin(["run", inTemporary("tiny"), "--prompt", "x"]);
    expect(status).toBe(1);
    expect(stderr).toMatch(/^griffin: .*tokenizer\.json/);
  });

  it("refuses a model that needs more memory than allowed, with the numbers", async () => {
    const { status, stderr } = await griffin(["run", "models/pocket", "--prompt", "x", "--memory", "3"]);
    expect(status).toBe(1);
    expect(stderr).toMatch(/needs \d+ bytes .* 3000000 are allowed/);
  });
});

describe("griffin logits", () => {
  const golden = readGolden("wide");
  const logits = async (name: string, ...more: string[]) => {
    const out = inTemporary(`${name}.safetensors`);
    const tokens = tokensFile("wide.json", [...golden.tokens]);
    const outcome = await griffin(["logits", inTemporary("wide"), "--tokens", tokens, "--out", out, ...more]);
    expect(outcome.stderr).toBe("");
    return readTensors(out);
  };
  beforeAll(async () => {
    await griffin(["convert", "test/golden/wide", inTemporary("wide"), "--quantize", "f32", "--quiet"]);
  });

  it("writes the same numbers with our kernels and with onnxruntime-web on the same graph", async () => {
    const [wasm, onnx] = [await logits("wasm", "--states"), await logits("onnx", "--engine", "onnx", "--states")];
    expect([...wasm.keys()].sort()).toEqual([...onnx.keys()].sort());
    for (const [name, values] of wasm) expect(maxDifference(values, onnx.get(name)!), name).toBeLessThan(1e-4);
    expect(maxDifference(wasm.get("logits")!, golden.logits)).toBeLessThan(1e-4);
  });

  it("names states as tokens read and entry", async () => {
    const tensors = await logits("states", "--states");
    const entries = [...golden.states.values()][0]!;
    expect([...tensors.keys()].filter((name) => name !== "logits").sort()).toEqual(
      [...entries.keys()].map((entry) => `state.${golden.tokens.length}.${entry}`).sort(),
    );
  });

  it("writes the same bytes whatever the chunk", async () => {
    await logits("chunk-64");
    await logits("chunk-7", "--chunk", "7");
    expect(readFileSync(inTemporary("chunk-7.safetensors"))).toEqual(readFileSync(inTemporary("chunk-64.safetensors")));
  });

  it.each([
    ["no tokens", [], /at least one token/],
    ["a token out of range", [1, 320], /tokens\[1\] .* 0 to 319, got 320/],
    ["a negative token", [-1], /tokens\[0\] /],
    ["no array", { tokens: [1] }, /JSON array/],
    ["bad JSON", "[1,", /not valid JSON/],
  ])("refuses %s in one line, writes nothing, and works again", async (_, tokens, message) => {
    const out = inTemporary("refused.safetensors");
    for (const engine of ["wasm", "onnx"]) {
      const args = ["--tokens", tokensFile("refused.json", tokens), "--out", out, "--engine", engine];
      const { status, stderr } = await griffin(["logits", inTemporary("wide"), ...args]);
      expect(status).toBe(1);
      expect(stderr).toMatch(message);
      expect(stderr.trimEnd()).not.toMatch(/\n/);
      expect(() => readFileSync(out)).toThrow();
    }
    await logits("after-refusal");
  });
});

describe("griffin logits --engine onnx", () => {
  const tokens = () => tokensFile("few.json", [2, 5, 7]);
  /** A copy of the wide checkpoint with one file changed, or taken away. */
  const damaged = (name: string, file: string, change: (bytes: Buffer) => Uint8Array | null) => {
    const folder = inTemporary(name);
    cpSync(inTemporary("wide"), folder, { recursive: true });
    const bytes = change(readFileSync(path.join(folder, file)));
    rmSync(path.join(folder, file));
    if (bytes) writeFileSync(path.join(folder, file), bytes);
    return folder;
  };
  const flipLast = (bytes: Buffer) => bytes.fill(bytes.at(-1)! ^ 1, bytes.length - 1);

  it.each([
    ["changed weights", "weights.safetensors", flipLast, /weights\.safetensors: its SHA-256 is /],
    [
      "weights cut short",
      "weights.safetensors",
      (b: Buffer) => b.subarray(0, -1),
      /weights\.safetensors is truncated: /,
    ],
    ["no weights", "weights.safetensors", () => null, /weights\.safetensors does not exist\./],
    ["a changed graph", "graph.onnx", flipLast, /graph\.onnx: its SHA-256 is /],
  ])("refuses %s in the words of our own engine", async (name, file, change, message) => {
    const folder = damaged(name, file, change);
    const out = inTemporary("damaged.safetensors");
    const args = ["logits", folder, "--tokens", tokens(), "--out", out];
    const [onnx, wasm] = await Promise.all([griffin([...args, "--engine", "onnx"]), griffin(args)]);
    expect(onnx).toMatchObject({ status: 1, stderr: expect.stringMatching(message) });
    expect(onnx).toEqual(wasm);
    expect(existsSync(out)).toBe(false);
  });

  it("refuses a model whose weights need more memory than allowed", async () => {
    const args = ["--tokens", tokens(), "--out", inTemporary("x"), "--engine", "onnx", "--memory", "3"];
    const { status, stderr } = await griffin(["logits", "models/pocket", ...args]);
    expect(status).toBe(1);
    expect(stderr).toMatch(/^griffin: ONNX Runtime needs more than the \d+ bytes .* 3000000 are allowed\.\n$/);
  });

  it("says in one line what ONNX Runtime says of a graph it does not take", async () => {
    // Our engine does not look into the bodies, so only the other one can find what is wrong there.
    const folder = damaged("odd body", "graph.onnx", (bytes) =>
      Buffer.from(bytes.toString("latin1").replaceAll("Softplus", "Softplux"), "latin1"),
    );
    const manifest = JSON.parse(readFileSync(path.join(folder, "model.json"), "utf8"));
    manifest.files["graph.onnx"] = fileEntry(readFileSync(path.join(folder, "graph.onnx")));
    writeFileSync(path.join(folder, "model.json"), JSON.stringify(manifest));
    const args = ["logits", folder, "--tokens", tokens(), "--out", inTemporary("y"), "--engine", "onnx"];
    const { status, stderr } = await griffin(args);
    expect(status).toBe(1);
    expect(stderr).toMatch(/^griffin: ONNX Runtime cannot load graph\.onnx: .+\n$/);
  });
});

describe("a path that cannot be read or written", () => {
  const few = () => tokensFile("few.json", [2, 5, 7]);
  const logits = (tokens: string, out: string) => ["logits", "models/pocket", "--tokens", tokens, "--out", out];
  const convert = (source: string, out: string) => ["convert", source, out, "--quiet"];
  beforeAll(() => {
    writeFileSync(inTemporary("a file"), "kept");
    mkdirSync(inTemporary("a folder/model.json"), { recursive: true });
  });

  it.each<[string, () => string[], string]>([
    ["convert into a file", () => convert("test/golden/tiny", inTemporary("a file")), "a file: file already exists"],
    [
      "convert under a file",
      () => convert("test/golden/tiny", inTemporary("a file/out")),
      "a file/out: not a directory",
    ],
    [
      "convert over a folder",
      () => convert("test/golden/tiny", inTemporary("a folder")),
      "a folder/model.json: illegal",
    ],
    [
      "write to no folder",
      () => logits(few(), inTemporary("missing/x")),
      "missing/x: no such file or directory (ENOENT)",
    ],
    [
      "write to a folder",
      () => logits(few(), inTemporary("a folder")),
      "a folder: illegal operation on a directory (EISDIR)",
    ],
    ["write to a full disk", () => logits(few(), "/dev/full"), "write /dev/full: no space left on device (ENOSPC)"],
    ["read no tokens", () => logits(inTemporary("none.json"), inTemporary("x")), "read @/none.json: no such file"],
    ["read tokens of a folder", () => logits(inTemporary("a folder"), inTemporary("x")), "read @/a folder: illegal"],
  ])("is named with the reason, in one line: %s", async (_, args, message) => {
    const { status, stderr } = await griffin(args());
    expect(status).toBe(1);
    expect(stderr).toContain(message.replace("@", temporary));
    expect(stderr).toMatch(/^griffin: Cannot .*\n$/);
    expect(stderr.trimEnd()).not.toMatch(/\n/);
    expect(readFileSync(inTemporary("a file"), "utf8")).toBe("kept");
    expect(readdirSync(inTemporary("a folder"))).toEqual(["model.json"]);
    expect(existsSync("/dev/full")).toBe(true);
  });
});

describe("griffin inspect and plan", () => {
  it("print a checkpoint's sizes", async () => {
    const { stdout } = await griffin(["inspect", "models/pocket"]);
    expect(stdout).toMatch(/parameters +3,140,544/);
    expect(stdout).toMatch(/state +45,056 bytes/);
    const json = JSON.parse((await griffin(["inspect", "models/pocket", "--json"])).stdout);
    expect(json).toMatchObject({ griffin: 1, parameters: 3_140_544, state_bytes: 45_056 });
  });

  it("print the plan: steps, kernels, shapes, addresses", async () => {
    const { stdout } = await griffin(["plan", "models/pocket", "--tokens", "5"]);
    expect(stdout).toMatch(/recurrence/);
    expect(stdout).toMatch(/logits f32\[1, 2048\] @\d+/);
    const plan = JSON.parse(
      (await griffin(["plan", "models/pocket", "--logits", "all", "--tokens", "5", "--json"])).stdout,
    );
    expect(plan.steps.length).toBeGreaterThan(60);
  });

  it("name what is wrong with a folder", async () => {
    expect((await griffin(["inspect", inTemporary("nowhere")])).stderr).toMatch(/griffin: .*nowhere.*does not exist/);
    cpSync(path.join(root, "models/pocket"), inTemporary("broken"), { recursive: true });
    writeFileSync(inTemporary("broken/graph.onnx"), readFileSync(inTemporary("broken/graph.onnx")).subarray(0, 1000));
    expect((await griffin(["plan", inTemporary("broken")])).stderr).toMatch(/griffin: graph\.onnx is truncated/);
  });
});

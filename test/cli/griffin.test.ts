// The griffin program as a user runs it: the built file, in a process of its own.
import { spawn } from "node:child_process";
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { readGolden } from "../reference/golden.ts";
import { readTensors } from "../reference/safetensors.ts";
import { maxDifference } from "../parity/models.ts";

const root = path.resolve(import.meta.dirname, "../..");
const temporary = mkdtempSync(path.join(tmpdir(), "griffin-cli-"));
const inTemporary = (name: string) => path.join(temporary, name);
afterAll(() => rmSync(temporary, { recursive: true }));

interface Outcome {
  status: number | null;
  stdout: string;
  stderr: string;
}

/** Runs `griffin` with these arguments and this standard input. */
function griffin(args: readonly string[], input = ""): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, ["dist/griffin.js", ...args], { cwd: root });
    const outcome: Outcome = { status: null, stdout: "", stderr: "" };
    child.stdout.on("data", (data) => (outcome.stdout += data));
    child.stderr.on("data", (data) => (outcome.stderr += data));
    child.on("error", reject);
    child.on("close", (status) => resolve({ ...outcome, status }));
    child.stdin.end(input);
  });
}

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
    const { status, stderr } = await griffin(["run", "models/pocket", "--prompt", "x", "--memory", "5"]);
    expect(status).toBe(1);
    expect(stderr).toMatch(/needs \d+ bytes .* 5000000 are allowed/);
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
    expect(stdout).toMatch(/rg_lru/);
    expect(stdout).toMatch(/logits f32\[1, 2048\] @\d+/);
    const plan = JSON.parse(
      (await griffin(["plan", "models/pocket", "--logits", "all", "--tokens", "5", "--json"])).stdout,
    );
    expect(plan.steps.length).toBeGreaterThan(90);
  });

  it("name what is wrong with a folder", async () => {
    expect((await griffin(["inspect", inTemporary("nowhere")])).stderr).toMatch(/griffin: .*nowhere.*does not exist/);
    cpSync(path.join(root, "models/pocket"), inTemporary("broken"), { recursive: true });
    writeFileSync(inTemporary("broken/graph.onnx"), readFileSync(inTemporary("broken/graph.onnx")).subarray(0, 1000));
    expect((await griffin(["plan", inTemporary("broken")])).stderr).toMatch(/griffin: graph\.onnx is truncated/);
  });
});

// The built program under the oldest Node it supports, which is not the one these tests run in.
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, expect, it } from "vitest";
import { huggingFaceFolder, randomTensors, sharded, smallConfig } from "../checkpoint/folders.ts";
import { griffin } from "./program.ts";

const temporary = mkdtempSync(path.join(tmpdir(), "griffin-node20-"));
afterAll(() => rmSync(temporary, { recursive: true }));

/** The machine's own Node, if it is an old one: the first on the path that is none of node_modules. */
function oldNode(): string | undefined {
  const folders = (process.env["PATH"] ?? "").split(path.delimiter).map((folder) => path.join(folder, "node"));
  const candidates = [process.env["npm_node_execpath"] ?? "", ...folders, "/usr/local/bin/node", "/usr/bin/node"];
  return candidates.find((node) => {
    if (node === "" || node.includes("node_modules")) return false;
    const { stdout } = spawnSync(node, ["--version"], { encoding: "utf8" });
    return /^v2[01]\./.test(stdout ?? "");
  });
}
const node = oldNode();

it("converts a sharded folder and replies under Node 20", async ({ skip }) => {
  if (node === undefined) return skip("needs a Node 20 or 21 on the PATH beside the project's own");
  const tensors = randomTensors(smallConfig);
  for (const [file, bytes] of sharded(huggingFaceFolder(smallConfig, tensors), tensors, 2)) {
    writeFileSync(path.join(temporary, file), bytes);
  }
  const [old, ours] = [path.join(temporary, "old"), path.join(temporary, "ours")];
  expect(await griffin(["convert", temporary, old, "--quiet"], "", node)).toMatchObject({ status: 0, stderr: "" });
  expect(await griffin(["convert", temporary, ours, "--quiet"])).toMatchObject({ status: 0, stderr: "" });
  for (const file of ["model.json", "graph.onnx", "weights.safetensors"]) {
    expect(readFileSync(path.join(old, file)).equals(readFileSync(path.join(ours, file))), file).toBe(true);
  }
  const count = ["run", "models/pocket", "--prompt", "Count from 3 to 9."];
  expect(await griffin(count, "", node)).toEqual({ status: 0, stdout: "3, 4, 5, 6, 7, 8, 9.\n", stderr: "" });
});

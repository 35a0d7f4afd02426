// The origin's tests are Python's: this runs them and passes on what they say.
import { spawn } from "node:child_process";
import path from "node:path";
import { expect, it } from "vitest";
import { originEnvironment, pythonOf } from "../../src/cli/serve/python.ts";
import { hasOrigin, skipNote } from "./real-origin.ts";

const root = path.resolve(import.meta.dirname, "../..");

it.skipIf(!hasOrigin)(`the origin passes its tests${skipNote}`, { timeout: 1_500_000 }, async () => {
  const child = spawn(
    pythonOf(originEnvironment),
    ["-B", "-m", "pytest", "-q", "-p", "no:cacheprovider", "test/origin"],
    { cwd: root },
  );
  let said = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (text) => (said += String(text)));
  const status = await new Promise((resolve) => void child.once("close", resolve));
  expect(status, said).toBe(0);
  expect(Number(/(\d+) passed/.exec(said)?.[1])).toBeGreaterThan(100);
});

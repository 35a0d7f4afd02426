import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";

const python = fileURLToPath(new URL("../../.venv/bin/python", import.meta.url));
const script = fileURLToPath(new URL("test_sampling.py", import.meta.url));

it("Python samples the same tokens from the same table", ({ skip }) => {
  skip(!existsSync(python), "needs Python with numpy in .venv");
  const { status, stderr } = spawnSync(python, ["-B", script], { encoding: "utf8" });
  expect(stderr).toMatch(/Ran [1-9]\d* tests/);
  expect({ status, stderr }).toMatchObject({ status: 0 });
});

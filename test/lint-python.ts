// Ruff over all Python of this repository: rules and formatting, as origin/pyproject.toml has them. It is installed by
// test/install.ts; where it is not, this says so, and on CI that is an error. With --fix it mends what it can.
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import path from "node:path";

const root = path.resolve(import.meta.dirname, "..");
const ruff = path.join(root, "origin/.venv/bin/ruff");
const folders = ["origin/griffin_origin", "origin/recipes", "origin/bench", "test/origin", "test/python"];
const what = ["--config", "origin/pyproject.toml", ...folders];

const commands = process.argv.includes("--fix") ? [["check", "--fix"], ["format"]] : [["check"], ["format", "--check"]];

if (existsSync(ruff)) {
  for (const command of commands) {
    const { status } = spawnSync(ruff, [...command, "--quiet", ...what], { cwd: root, stdio: "inherit" });
    if (status !== 0) process.exit(1);
  }
} else {
  console.log("Python was not checked: no origin/.venv/bin/ruff (node test/install.ts).");
  if (process.env["CI"]) process.exit(1);
}

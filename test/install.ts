// What some tests need besides npm packages: a Python environment in .venv, and Debian's chromium. Both are installed
// once. Where that is impossible the tests that need them are skipped and this says so; on CI that is an error.
import { spawnSync } from "node:child_process";
import { existsSync, rmSync, statSync, utimesSync } from "node:fs";
import path from "node:path";

const root = path.resolve(import.meta.dirname, "..");
const requirements = path.join(root, "test/python/requirements.txt");
const venv = path.join(root, ".venv");
const stamp = path.join(venv, "pyvenv.cfg");

/** Runs a command without its output; true when it succeeded. */
const succeeds = (command: string, ...args: string[]) =>
  spawnSync(command, args, { cwd: root, stdio: "ignore" }).status === 0;

const modifiedMs = (file: string) => (existsSync(file) ? statSync(file).mtimeMs : 0);

function installPython(): boolean {
  if (modifiedMs(stamp) >= modifiedMs(requirements)) return true;
  console.log("installing the Python packages of test/python/requirements.txt into .venv …");
  rmSync(venv, { recursive: true, force: true });
  const pip = [
    path.join(venv, "bin/python"),
    "-m",
    "pip",
    "install",
    "--quiet",
    "--require-hashes",
    "-r",
    requirements,
  ] as const;
  if (succeeds("python3", "-m", "venv", venv) && succeeds(...pip)) {
    const now = new Date();
    utimesSync(stamp, now, now);
    return true;
  }
  rmSync(venv, { recursive: true, force: true });
  return false;
}

function installChromium(): boolean {
  if (existsSync("/usr/bin/chromium")) return true;
  console.log("installing chromium …");
  return succeeds("apt-get", "update") && succeeds("apt-get", "install", "-y", "--no-install-recommends", "chromium");
}

const missing = Object.entries({ "Python packages": installPython, chromium: installChromium })
  .filter(([, install]) => !install())
  .map(([name]) => name);
for (const name of missing) console.log(`could not install: ${name}. The tests that need it will be skipped.`);
if (missing.length > 0 && process.env["CI"]) process.exit(1);

// What some tests need besides npm packages: two Python environments and Debian's chromium. All are installed once. Where
// that is impossible the tests that need them are skipped and this says so; on CI that is an error.
import { spawnSync } from "node:child_process";
import { existsSync, rmSync, statSync, utimesSync } from "node:fs";
import path from "node:path";

const root = path.resolve(import.meta.dirname, "..");

/** Folder of an environment → its requirements. The origin's has just what an origin is deployed with and its tests: tools
 *  such as Schemathesis must not decide on versions of that, nor Ray on theirs. */
const environments = { ".venv": "test/python/requirements.txt", "origin/.venv": "origin/requirements.txt" };

/** Runs a command without its output; true when it succeeded. */
const succeeds = (command: string, ...args: string[]) =>
  spawnSync(command, args, { cwd: root, stdio: "ignore" }).status === 0;

const modifiedMs = (file: string) => (existsSync(file) ? statSync(file).mtimeMs : 0);

function installPython(folder: string, requirements: string): boolean {
  const venv = path.join(root, folder);
  const stamp = path.join(venv, "pyvenv.cfg");
  if (modifiedMs(stamp) >= modifiedMs(path.join(root, requirements))) return true;
  console.log(`installing the Python packages of ${requirements} into ${folder} …`);
  rmSync(venv, { recursive: true, force: true });
  const python = path.join(venv, "bin/python");
  const pip = ["-m", "pip", "install", "--quiet", "--require-hashes", "-r", requirements];
  if (succeeds("python3", "-m", "venv", venv) && succeeds(python, ...pip)) {
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

const missing = Object.entries(environments)
  .filter(([folder, requirements]) => !installPython(folder, requirements))
  .map(([, requirements]) => `the packages of ${requirements}`);
if (!installChromium()) missing.push("chromium");
for (const name of missing) console.log(`could not install: ${name}. The tests that need it will be skipped.`);
if (missing.length > 0 && process.env["CI"]) process.exit(1);

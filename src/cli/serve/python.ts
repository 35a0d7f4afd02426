// Python environments of a checkout, each in a folder of its own with packages that are locked by their hashes.
import { spawnSync, type StdioOptions } from "node:child_process";
import { existsSync, rmSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";

const root = path.resolve(import.meta.dirname, "../../..");

export interface PythonEnvironment {
  /** Both from the root of the checkout. */
  folder: string;
  requirements: string;
}

/** What an origin is deployed with, what its recipes need, and the tests of both. */
export const originEnvironment = { folder: "origin/.venv", requirements: "origin/requirements.txt" };

/** For an origin of a checkout: its programs are compiled once for all starts, whoever starts it. */
export const compileCache = {
  JAX_COMPILATION_CACHE_DIR: path.join(root, ".cache/jax"),
  JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS: "0",
  JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES: "-1",
};

/** The interpreter of an environment. */
export const pythonOf = ({ folder }: PythonEnvironment): string => path.join(root, folder, "bin/python");

/**
 * Installs an environment where it is missing, was not finished, or is older than its requirements. Where that cannot be
 * done it says why, and returns false.
 */
export function installPython({ folder, requirements }: PythonEnvironment): boolean {
  const venv = path.join(root, folder);
  /** Is there when all is. */
  const stamp = path.join(venv, "installed");
  if (modifiedMs(stamp) >= modifiedMs(path.join(root, requirements))) return true;
  const python = pythons.find((each) => succeeds(each, "-c", isNewEnough));
  if (python === undefined) {
    console.error(`There is no Python 3.11 or newer: ${pythons.join(", ")} are not. PYTHON=… names another.`);
    return false;
  }
  console.log(`installing the Python packages of ${requirements} into ${folder} …`);
  rmSync(venv, { recursive: true, force: true });
  const pip = ["-m", "pip", "install", "--quiet", "--require-hashes", "-r", requirements];
  const isInstalled = tells(python, "-m", "venv", venv) && tells(path.join(venv, "bin/python"), ...pip);
  if (isInstalled) writeFileSync(stamp, "");
  else rmSync(venv, { recursive: true, force: true });
  return isInstalled;
}

const isNewEnough = "import sys; sys.exit(sys.version_info < (3, 11))";
const pythons = process.env["PYTHON"]
  ? [process.env["PYTHON"]]
  : ["python3", "python3.14", "python3.13", "python3.12", "python3.11"];

/** Runs a command at the root of the checkout, without its output; true when it succeeded. */
export const succeeds = (command: string, ...args: string[]): boolean => run(command, args, "ignore");

/** The same of one that says on the terminal what went wrong. */
const tells = (command: string, ...args: string[]): boolean => run(command, args, ["ignore", "ignore", "inherit"]);

const run = (command: string, args: string[], stdio: StdioOptions): boolean =>
  spawnSync(command, args, { cwd: root, stdio }).status === 0;

const modifiedMs = (file: string) => (existsSync(file) ? statSync(file).mtimeMs : 0);

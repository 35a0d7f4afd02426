// Python environments of a checkout, each in a folder of its own with packages that are locked by their hashes.
import { spawnSync } from "node:child_process";
import { existsSync, rmSync, statSync, utimesSync } from "node:fs";
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

/** Installs an environment where it is missing or older than its requirements; false where that cannot be done. */
export function installPython({ folder, requirements }: PythonEnvironment): boolean {
  const venv = path.join(root, folder);
  const stamp = path.join(venv, "pyvenv.cfg");
  if (modifiedMs(stamp) >= modifiedMs(path.join(root, requirements))) return true;
  console.log(`installing the Python packages of ${requirements} into ${folder} …`);
  rmSync(venv, { recursive: true, force: true });
  const pip = ["-m", "pip", "install", "--quiet", "--require-hashes", "-r", requirements];
  if (succeeds("python3", "-m", "venv", venv) && succeeds(path.join(venv, "bin/python"), ...pip)) {
    const now = new Date();
    utimesSync(stamp, now, now);
    return true;
  }
  rmSync(venv, { recursive: true, force: true });
  return false;
}

/** Runs a command at the root of the checkout, without its output; true when it succeeded. */
export const succeeds = (command: string, ...args: string[]): boolean =>
  spawnSync(command, args, { cwd: root, stdio: "ignore" }).status === 0;

const modifiedMs = (file: string) => (existsSync(file) ? statSync(file).mtimeMs : 0);

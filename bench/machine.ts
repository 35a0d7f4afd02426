// Where and with what it was measured: a figure without these is none.
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";

const root = path.resolve(import.meta.dirname, "..");

export interface Machine {
  processor: string;
  cores: number;
  memoryBytes: number;
  node: string;
  v8: string;
  workerd: string;
  /** Exact versions of the packages that were measured or measured with. */
  packages: Record<string, string>;
  /** The commit, with a + where files were changed since. */
  commit: string;
  date: string;
}

export function describeMachine(): Machine {
  const [processor] = os.cpus();
  return {
    processor: processor?.model ?? os.arch(),
    cores: os.availableParallelism(),
    memoryBytes: os.totalmem(),
    node: process.versions.node,
    v8: process.versions.v8,
    workerd: execFileSync(path.join(root, "node_modules/.bin/workerd"), ["--version"], { encoding: "utf8" }).trim(),
    packages: {
      ...pinned("package.json", /^(assemblyscript|onnxruntime-web)$/),
      ...pinned("bench/peers/package.json"),
    },
    commit: commit(),
    date: new Date().toISOString().slice(0, 10),
  };
}

/** One line of it, for below a table. */
export function summary({ processor, cores, node, v8, workerd, packages, commit: at, date }: Machine): string {
  const versions = Object.entries(packages).map(([name, version]) => `${name} ${version}`);
  return `${cores} cores of ${processor}, Node ${node} (V8 ${v8}), ${workerd}, ${versions.join(", ")}; ${date}, ${at}`;
}

function pinned(file: string, wanted = /./): Record<string, string> {
  const { dependencies = {}, devDependencies = {} } = JSON.parse(readFileSync(path.join(root, file), "utf8")) as {
    dependencies?: Record<string, string>;
    devDependencies?: Record<string, string>;
  };
  const all = Object.entries({ ...dependencies, ...devDependencies });
  return Object.fromEntries(all.filter(([name]) => wanted.test(name)));
}

function commit(): string {
  try {
    const git = (...args: string[]) => execFileSync("git", args, { cwd: root, encoding: "utf8" }).trim();
    const changed = git("status", "--porcelain", "--untracked-files=no") !== "";
    return `commit ${git("rev-parse", "--short", "HEAD")}${changed ? "+" : ""}`;
  } catch {
    return "no commit";
  }
}

// The griffin program as a user runs it: the built file, in a process of its own.
import { spawn, type ChildProcessWithoutNullStreams } from "node:child_process";
import path from "node:path";

const root = path.resolve(import.meta.dirname, "../..");

export interface Outcome {
  status: number | null;
  stdout: string;
  stderr: string;
}

/** Runs `griffin` with these arguments and this standard input, under this Node or another. */
export function griffin(
  args: readonly string[],
  input = "",
  node = process.execPath,
  environment: NodeJS.ProcessEnv = {},
): Promise<Outcome> {
  const child = spawn(node, ["dist/griffin.js", ...args], { cwd: root, env: { ...process.env, ...environment } });
  child.stdin.end(input);
  return outcomeOf(child);
}

/** What a process says, and how it ends. */
export function outcomeOf(child: ChildProcessWithoutNullStreams): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    const outcome: Outcome = { status: null, stdout: "", stderr: "" };
    child.stdout.on("data", (data) => (outcome.stdout += data));
    child.stderr.on("data", (data) => (outcome.stderr += data));
    child.on("error", reject);
    child.on("close", (status) => resolve({ ...outcome, status }));
  });
}

/** Gives a program a terminal of its own: what is written to this process is typed there. */
const python = "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))";

/** Runs `griffin` on a terminal. */
export function griffinOnTerminal(args: readonly string[]) {
  const child = spawn("python3", ["-c", python, process.execPath, "dist/griffin.js", ...args], { cwd: root });
  const ended = outcomeOf(child);
  let screen = "";
  let isRunning = true;
  const look = new Set<() => void>();
  const lookAgain = () => look.forEach((each) => each());
  child.stdout.on("data", (data) => {
    screen += data;
    lookAgain();
  });
  child.on("close", () => {
    isRunning = false;
    lookAgain();
  });
  return {
    ended,
    type: (keys: string) => void child.stdin.write(keys),
    /** Waits until a pattern is on the screen, after what was seen before. */
    sees: (pattern: RegExp) =>
      new Promise<RegExpExecArray>((resolve, reject) => {
        const check = () => {
          const match = pattern.exec(screen);
          if (match === null && isRunning) return;
          look.delete(check);
          if (match === null) return reject(new Error(`The program ended without ${pattern}: ${screen}`));
          screen = screen.slice(match.index + match[0].length);
          resolve(match);
        };
        look.add(check);
        check();
      }),
    /** Ends the program, were it still running. */
    kill: () => void child.kill("SIGKILL"),
  };
}

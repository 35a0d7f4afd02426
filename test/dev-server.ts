// `npm start` for tests: wrangler's own runtime around the worker, with R2 and Queues, which workerd alone does not have.
// On a port and in a data folder of its own, in its own process group so that a test can kill it as a machine dies.
import { spawn, type ChildProcess } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

const root = path.resolve(import.meta.dirname, "..");

export interface DevServer {
  /** Stays the same over restarts. */
  url: string;
  /** Kills the whole process group at once and waits until it is gone. */
  kill(): Promise<void>;
  /** Starts it again on the same port and data. */
  start(): Promise<void>;
  /** Kills it and removes the data folder. */
  stop(): Promise<void>;
}

/** Starts a server and resolves when it answers. */
export async function startDevServer(environment: NodeJS.ProcessEnv = {}): Promise<DevServer> {
  const dataDir = await mkdtemp(path.join(tmpdir(), "griffin-dev-"));
  // Below the ports that connections are given, or one of them could take the port during a restart.
  const port = 10_000 + Math.floor(Math.random() * 20_000);
  const url = `http://127.0.0.1:${port}`;
  let child: ChildProcess | undefined;

  async function start(): Promise<void> {
    const env = { ...process.env, ...environment, PORT: String(port), DATA_DIR: dataDir };
    const started = spawn("npm", ["start"], { cwd: root, env, detached: true, stdio: ["ignore", "pipe", "pipe"] });
    child = started;
    let said = "";
    for (const stream of [started.stdout, started.stderr]) {
      stream.setEncoding("utf8").on("data", (text: string) => (said += text));
    }
    const untilMs = Date.now() + 60_000;
    while (!said.includes(`Griffin Edge is at ${url}`)) {
      if (started.exitCode !== null || Date.now() > untilMs)
        throw new Error(`npm start does not start. It said:\n${said}`);
      await sleep(50);
    }
  }

  async function kill(): Promise<void> {
    if (child?.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const gone = new Promise((resolve) => void child?.once("exit", resolve));
    process.kill(-child.pid, "SIGKILL");
    await gone;
  }

  // Should the tests be stopped before they stop it.
  const killNow = () => child?.pid !== undefined && child.exitCode === null && process.kill(-child.pid, "SIGKILL");
  process.once("exit", killNow);
  await start();
  return {
    url,
    kill,
    start,
    async stop() {
      process.off("exit", killNow);
      await kill();
      await rm(dataDir, { recursive: true, force: true });
    },
  };
}

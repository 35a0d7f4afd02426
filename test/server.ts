// A real server for tests: the built worker under `workerd serve`, on a port and in a data folder of its own, in its own
// process group so that a test can kill it as a machine dies. The build must be up to date, as `npm test` leaves it.
import type { ChildProcess } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { startWorkerd } from "../src/cli/serve/workerd.ts";

export interface TestServer {
  /** Stays the same over restarts. */
  url: string;
  /** Of the process that runs now. */
  pid: number;
  /** Where the conversations are. */
  dataDir: string;
  /** What it printed so far, over all restarts. */
  log(): string;
  /** Sends a signal to the whole process group and waits until it is gone. */
  kill(signal: NodeJS.Signals): Promise<void>;
  /** Starts it again on the same port and data; kills it first if it runs. */
  restart(): Promise<void>;
  /** Kills it and removes the data folder, if it was made here. */
  stop(): Promise<void>;
}

/** Starts a server and resolves when `/health` answers. */
export async function startServer(
  options: { dataDir?: string; port?: number; environment?: NodeJS.ProcessEnv } = {},
): Promise<TestServer> {
  const dataDir = options.dataDir ?? (await mkdtemp(path.join(tmpdir(), "griffin-server-")));
  const { environment = {} } = options;
  let log = "";
  let running = await (options.port === undefined ? startAnywhere() : start(options.port));

  async function start(port: number): Promise<{ child: ChildProcess; port: number }> {
    const started = await startWorkerd({ port, dataDir, output: "pipe", detached: true, environment });
    for (const stream of [started.child.stdout, started.child.stderr]) {
      stream?.setEncoding("utf8").on("data", (text: string) => (log += text));
    }
    await waitForHealth(`http://127.0.0.1:${started.port}`, started.child, () => log).catch((error: unknown) => {
      started.child.kill("SIGKILL");
      throw error;
    });
    return started;
  }

  async function startAnywhere() {
    for (let attempt = 0; attempt < 5; attempt++) {
      // Below the ports that connections are given, or one of them could take the port during a restart.
      const started = await start(10_000 + Math.floor(Math.random() * 20_000)).catch(() => null);
      if (started !== null) return started;
    }
    throw new Error(`The server does not start. It said:\n${log}`);
  }

  // Should the tests be stopped before they stop it.
  const killNow = () => void running.child.kill("SIGKILL");
  process.once("exit", killNow);

  const server: TestServer = {
    url: `http://127.0.0.1:${running.port}`,
    pid: running.child.pid ?? 0,
    dataDir,
    log: () => log,
    async kill(signal) {
      const { child } = running;
      if (hasEnded(child) || child.pid === undefined) return;
      const ended = new Promise((resolve) => void child.once("exit", resolve));
      process.kill(-child.pid, signal);
      await ended;
    },
    async restart() {
      await server.kill("SIGKILL");
      running = await start(running.port);
      server.pid = running.child.pid ?? 0;
    },
    async stop() {
      process.off("exit", killNow);
      await server.kill("SIGKILL");
      if (options.dataDir === undefined) await rm(dataDir, { recursive: true, force: true });
    },
  };
  return server;
}

const hasEnded = (child: ChildProcess) => child.exitCode !== null || child.signalCode !== null;

async function waitForHealth(url: string, child: ChildProcess, log: () => string): Promise<void> {
  const untilMs = Date.now() + 20_000;
  while (Date.now() < untilMs && !hasEnded(child)) {
    const response = await fetch(`${url}/health`).catch(() => null);
    if (response?.ok) return;
    await sleep(50);
  }
  throw new Error(`The server at ${url} does not answer /health. It said:\n${log()}`);
}

// A real origin for tests: `python -m griffin_origin` on a port of its own, which it has again when it is started again.
import { spawn, type ChildProcess } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { connect, createServer, type AddressInfo, type Socket } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { compileCache, originEnvironment, pythonOf } from "../../src/cli/serve/python.ts";
import type { Folder } from "../checkpoint/folders.ts";

const root = path.resolve(import.meta.dirname, "../..");
const python = pythonOf(originEnvironment);

/** Whether an origin can be started here. */
export const hasOrigin = existsSync(python);
/** For titles of tests that need one. */
export const skipNote = hasOrigin ? "" : " (skipped: no origin/.venv with origin/requirements.txt)";

export interface RealOrigin {
  url: string;
  /** Ends it at once, as a machine dies. */
  kill(): Promise<void>;
  /** Starts it again; resolves when it answers. */
  start(): Promise<void>;
  /** Kills it and removes what it was started with. */
  stop(): Promise<void>;
}

/** Starts an origin of a checkpoint, in memory or a folder on disk; `settings` are its GRIFFIN_… variables. */
export async function startOrigin(
  checkpoint: Folder | string,
  settings: Record<string, string> = {},
): Promise<RealOrigin> {
  const scratch = await mkdtemp(path.join(tmpdir(), "griffin-origin-"));
  if (typeof checkpoint !== "string") {
    for (const [name, bytes] of checkpoint) await writeFile(path.join(scratch, name), bytes);
  }
  const env = {
    ...process.env,
    JAX_PLATFORMS: "cpu",
    ...compileCache,
    GRIFFIN_CHECKPOINT: typeof checkpoint === "string" ? path.resolve(root, checkpoint) : scratch,
    // Few programs to compile.
    GRIFFIN_SLOTS: "4",
    GRIFFIN_CHUNK_TOKENS: "64",
    ...settings,
  };
  // Below the ports that connections are given, or one of them could take the port during a restart.
  const port = 10_000 + Math.floor(Math.random() * 20_000);
  const url = `http://127.0.0.1:${port}`;
  let child: ChildProcess | undefined;

  const hasEnded = () => child === undefined || child.exitCode !== null || child.signalCode !== null;
  async function start(): Promise<void> {
    const args = ["-B", "-m", "griffin_origin", "--port", String(port)];
    const started = spawn(python, args, { cwd: path.join(root, "origin"), env, stdio: ["ignore", "pipe", "pipe"] });
    child = started;
    let said = "";
    for (const stream of [started.stdout, started.stderr]) {
      stream.setEncoding("utf8").on("data", (text: string) => (said += text));
    }
    const untilMs = Date.now() + 400_000;
    while (!(await fetch(`${url}/health`).catch(() => null))?.ok) {
      if (hasEnded() || Date.now() > untilMs) throw new Error(`The origin does not start. It said:\n${said}`);
      await sleep(50);
    }
  }
  async function kill(): Promise<void> {
    if (child === undefined || hasEnded()) return;
    const gone = new Promise((resolve) => void child?.once("exit", resolve));
    child.kill("SIGKILL");
    await gone;
  }
  // Should the tests be stopped before they stop it.
  const killNow = () => void child?.kill("SIGKILL");
  process.once("exit", killNow);
  await start();
  return {
    url,
    kill,
    start,
    async stop() {
      process.off("exit", killNow);
      await kill();
      await rm(scratch, { recursive: true, force: true });
    },
  };
}

/** The way to an origin, which breaks and is mended at once: an origin takes many seconds to start. */
export interface Way {
  url: string;
  /** Breaks all connections off and takes no more. */
  break(): void;
  mend(): void;
  close(): void;
}

/** A way of its own to a server. */
export async function openWay(to: string): Promise<Way> {
  const sockets = new Set<Socket>();
  let isBroken = false;
  const server = createServer((near) => {
    if (isBroken) return void near.destroy();
    const far = connect(Number(new URL(to).port), "127.0.0.1");
    for (const [one, other] of [
      [near, far],
      [far, near],
    ] as const) {
      sockets.add(one);
      one.on("error", () => undefined).on("close", () => (sockets.delete(one), other.destroy()));
      one.pipe(other);
    }
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const cut = () => sockets.forEach((socket) => socket.destroy());
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    break() {
      isBroken = true;
      cut();
    },
    mend() {
      isBroken = false;
    },
    close() {
      cut();
      server.close();
    },
  };
}

// Runs the built worker under workerd, without wrangler: `startWorkerd` for tests and benchmarks, and `npm run serve`
// at http://127.0.0.1:PORT with the data in DATA_DIR, .wrangler/serve unless told.
import { spawn, type ChildProcess, type StdioOptions } from "node:child_process";
import { readFile } from "node:fs/promises";
import path from "node:path";
import { createInterface } from "node:readline";
import type { Readable } from "node:stream";
import { claimFolder, freePort, refuse, tie } from "./place.ts";
import { accessNote, settingsOf } from "./settings.ts";

const root = path.resolve(import.meta.dirname, "../../..");

/** Made by the build from wrangler.toml: see config.ts. */
export const configFile = path.join(root, "dist/workerd/config.capnp");
/** A JSON list of the bindings that workerd cannot provide. */
export const missingFile = path.join(root, "dist/workerd/missing.json");

export interface WorkerdOptions {
  /** 0 for a free one. */
  port: number;
  /** Made where it does not exist. Two processes must never share one. */
  dataDir: string;
  /** What becomes of its output; passed on unless told. */
  output?: "inherit" | "pipe";
  /** Beside what this process's own says. */
  environment?: NodeJS.ProcessEnv;
  /** Its own process group, which a terminal's Ctrl-C does not reach. */
  detached?: boolean;
}

/** Starts workerd and resolves with its port when it listens. */
export async function startWorkerd(options: WorkerdOptions): Promise<{ child: ChildProcess; port: number }> {
  const { port, dataDir, output = "inherit", environment = {}, detached = false } = options;
  const env = { ...process.env, ...settingsOf({ ...process.env, ...environment }) };
  const storage = path.resolve(root, dataDir);
  const claim = await claimFolder(storage, "workerd");
  const args = [`--socket-addr=http=127.0.0.1:${port}`, `--directory-path=storage=${storage}`, "--control-fd=3"];
  const stdio: StdioOptions = ["ignore", output, output, "pipe"];
  const child = spawn(path.join(root, "node_modules/.bin/workerd"), ["serve", configFile, ...args], {
    stdio,
    detached,
    env,
  });
  await claim.heldBy(child);
  const failed = new Promise<never>((_, reject) => {
    child.once("error", reject);
    child.once("exit", (code) =>
      reject(new Error(`workerd ended with status ${code} before it listened on port ${port}; is it taken?`)),
    );
  });
  return { child, port: await Promise.race([listeningPort(child.stdio[3] as Readable), failed]) };
}

/** workerd says on its control descriptor which port each socket got, one JSON object a line. */
async function listeningPort(control: Readable): Promise<number> {
  for await (const line of createInterface({ input: control })) {
    const message = JSON.parse(line) as { event: string; port?: number };
    if (message.event === "listen" && message.port !== undefined) return message.port;
  }
  // It is ending, and its status tells more.
  return new Promise(() => undefined);
}

if (import.meta.main) {
  const dataDir = process.env["DATA_DIR"] ?? ".wrangler/serve";
  const missing = JSON.parse(await readFile(missingFile, "utf8")) as string[];
  const wanted = { port: await freePort("PORT"), dataDir };
  const { child, port } = await startWorkerd(wanted).catch((error: Error) => refuse(error.message));
  console.log(`Griffin Edge is at http://127.0.0.1:${port}, its data in ${dataDir} (Ctrl-C stops it)`);
  const note = accessNote(settingsOf(process.env));
  if (note !== "") console.log(note);
  if (missing.length > 0) console.log(`Not there under workerd alone: ${missing.join(", ")}.`);
  tie(child);
  child.on("exit", (code, signal) => {
    const isAsked = signal === "SIGINT" || signal === "SIGTERM";
    process.exitCode = code ?? (isAsked ? 0 : 1);
    if (signal !== null && !isAsked) console.error(`workerd was ended by ${signal}.`);
  });
}

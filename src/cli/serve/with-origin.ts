// `npm run start:origin`: an origin on this machine's CPU or GPU at http://127.0.0.1:ORIGIN_PORT, 8790 unless told, and
// `npm start` beside it, which sends long prompts and batches there. The two share a key that is made for the occasion.
import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { refuse } from "./place.ts";
import { compileCache, installPython, originEnvironment, pythonOf } from "./python.ts";

const root = path.resolve(import.meta.dirname, "../../..");
const url = `http://127.0.0.1:${process.env["ORIGIN_PORT"] ?? "8790"}`;
const key = process.env["ORIGIN_KEY"] || randomBytes(24).toString("hex");

if (!installPython(originEnvironment))
  refuse("The origin's Python packages cannot be installed: it needs Python 3.11.");
console.log("Starting the origin, which compiles its programs …");
const origin = spawn(
  pythonOf(originEnvironment),
  ["-m", "griffin_origin", "--port", new URL(url).port, "--with-parent"],
  {
    cwd: path.join(root, "origin"),
    env: {
      ...compileCache,
      ...process.env,
      GRIFFIN_CHECKPOINT: path.resolve(root, process.env["GRIFFIN_CHECKPOINT"] ?? "models/pocket"),
      GRIFFIN_ORIGIN_KEY: key,
    },
    stdio: ["ignore", "inherit", "inherit"],
  },
);
// It ends with the edge, which nothing of it keeps alive.
origin.unref();
process.once("exit", () => origin.kill());
const headers = { authorization: `Bearer ${key}` };
// Its own answer, not that of another one at the same address.
while (!(await fetch(`${url}/v1/models`, { headers }).catch(() => null))?.ok) {
  if (origin.exitCode !== null || origin.signalCode !== null) refuse("The origin did not start.");
  await sleep(100);
}
console.log(`The origin is at ${url}`);
Object.assign(process.env, { ORIGIN_URL: url, ORIGIN_KEY: key });
await import("./dev.ts");

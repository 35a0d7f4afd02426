// `npm run start:origin`: an origin on this machine's CPU or GPU at http://127.0.0.1:ORIGIN_PORT, 8790 unless told, and
// `npm start` beside it, which sends long prompts and batches there. The two share a key that is made for the occasion.
import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { freePort, refuse } from "./place.ts";
import { compileCache, installPython, originEnvironment, pythonOf } from "./python.ts";

const root = path.resolve(import.meta.dirname, "../../..");
const port = String(await freePort("ORIGIN_PORT"));
await freePort("PORT"); // the edge's: better said now than when the origin is there
const url = `http://127.0.0.1:${port}`;
const key = process.env["ORIGIN_KEY"] || randomBytes(24).toString("hex");

/** Variables of the griffin program, which mean nothing to an origin. */
const ofTheProgram = new Set(["GRIFFIN_API_KEY", "GRIFFIN_ADMIN_KEY", "GRIFFIN_HOOK_SECRET"]);

if (!installPython(originEnvironment)) refuse("The origin's Python packages could not be installed.");
console.log("Starting the origin, which compiles its programs …");
const origin = spawn(pythonOf(originEnvironment), ["-m", "griffin_origin", "--port", port, "--with-parent"], {
  cwd: path.join(root, "origin"),
  env: {
    ...compileCache,
    ...Object.fromEntries(Object.entries(process.env).filter(([name]) => !ofTheProgram.has(name))),
    GRIFFIN_CHECKPOINT: path.resolve(root, process.env["GRIFFIN_CHECKPOINT"] ?? "models/pocket"),
    GRIFFIN_ORIGIN_KEY: key,
  },
  stdio: ["ignore", "inherit", "inherit"],
});
// It ends with the edge, which nothing of it keeps alive.
origin.unref();
process.once("exit", () => origin.kill());
const headers = { authorization: `Bearer ${key}` };
const hasEnded = () => origin.exitCode !== null || origin.signalCode !== null;
while (!(await fetch(`${url}/v1/models`, { headers }).catch(() => null))?.ok && !hasEnded()) await sleep(100);
if (hasEnded()) refuse("The origin did not start.");
console.log(`The origin is at ${url}`);
origin.once("exit", (code) => {
  if (code !== 0) console.error("The origin has ended. The edge goes on without it; started anew, both are there.");
});
Object.assign(process.env, { ORIGIN_URL: url, ORIGIN_KEY: key });
await import("./dev.ts");

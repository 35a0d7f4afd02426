// Where a server may be: a port nobody else has, a data folder no other server uses, and only as long as whoever started
// it is there.
import { spawnSync, type ChildProcess } from "node:child_process";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import path from "node:path";

const defaultPorts = { PORT: "8787", ORIGIN_PORT: "8790" };

/** The port that the variable says, or the usual one; fails with one line when it is no port or taken. */
export async function freePort(variable: keyof typeof defaultPorts): Promise<number> {
  const given = process.env[variable] ?? defaultPorts[variable];
  const port = Number(given);
  if (!Number.isInteger(port) || port < 1 || port > 65_535) {
    refuse(`${variable} must be from 1 to 65535, got "${given}".`);
  }
  const isFree = await new Promise<boolean>((resolve) => {
    const probe = createServer();
    probe.once("error", () => resolve(false));
    probe.listen(port, "127.0.0.1", () => probe.close(() => resolve(true)));
  });
  return isFree ? port : refuse(`Port ${port} is taken; ${variable}=… chooses another.`);
}

/** Fails where a server that still runs has this data folder. `command` is part of what such a server is called. */
export async function claimFolder(
  folder: string,
  command: string,
): Promise<{ heldBy(child: ChildProcess): Promise<void> }> {
  await mkdir(folder, { recursive: true });
  const file = path.join(folder, "server.pid");
  const pid = (await readFile(file, "utf8").catch(() => "")).trim();
  if (/^\d+$/.test(pid)) {
    const { stdout } = spawnSync("ps", ["-p", pid, "-o", "stat=", "-o", "command="], { encoding: "utf8" });
    // A process that was killed keeps its name until somebody asks how it ended.
    if (stdout?.includes(command) && !stdout.trimStart().startsWith("Z"))
      throw new Error(`${folder} is in use by process ${pid}; two servers must never share it.`);
  }
  return { heldBy: (child) => writeFile(file, String(child.pid)) };
}

/** Passes signals on to a server, and stops it when the process that started this one is gone. */
export function tie(child: ChildProcess): void {
  // A terminal's Ctrl-C reaches the server too; this process only waits for it.
  process.on("SIGINT", () => undefined);
  process.on("SIGTERM", () => child.kill("SIGTERM"));
  const parent = process.ppid;
  const watch = setInterval(() => {
    if (process.ppid !== parent) child.kill("SIGTERM");
  }, 500);
  child.once("exit", () => clearInterval(watch));
}

/** Ends the process with one line. */
export function refuse(line: string): never {
  console.error(line);
  process.exit(1);
}

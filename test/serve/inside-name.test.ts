// A name that looks public and resolves to this machine: nothing in its spelling tells, so the runtime's network refuses to
// connect. Needs a mount namespace, for an /etc/hosts of its own.
import { spawnSync } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { expect, it } from "vitest";

const name = "inside.griffin-test.net";
const withHosts = (hosts: string, ...command: string[]) =>
  spawnSync("unshare", ["-rm", "sh", "-c", `mount --bind "$0" /etc/hosts && exec "$@"`, hosts, ...command], {
    encoding: "utf8",
  });
const canMount = withHosts("/etc/hosts", "true").status === 0;

it.skipIf(!canMount)("is not connected to, but in development", async () => {
  const folder = await mkdtemp(path.join(tmpdir(), "griffin-hosts-"));
  try {
    const hosts = path.join(folder, "hosts");
    await writeFile(hosts, `127.0.0.1 ${name}\n`);
    const program = path.join(import.meta.dirname, "inside-name.ts");
    const { stdout, stderr } = withHosts(hosts, process.execPath, program, name);
    expect(stdout, stderr).not.toBe("");
    expect(JSON.parse(stdout)).toEqual([
      { isMade: true, error: "connection_failed", connections: 0 },
      { isMade: true, error: "connection_failed", connections: 1 },
    ]);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});

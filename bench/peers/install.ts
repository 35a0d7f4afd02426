// Peers that are native code: some hundred MB, so not among the project's own packages. They are installed by their own
// lockfile, when first measured, without running a script: their binaries come inside their packages.
import { execFileSync } from "node:child_process";
import { createRequire } from "node:module";
import { existsSync } from "node:fs";
import path from "node:path";

const folder = import.meta.dirname;

/** Installs the peers if need be; says why where that cannot be done. */
export function installPeers(): string | undefined {
  if (existsSync(path.join(folder, "node_modules/.package-lock.json"))) return undefined;
  try {
    execFileSync("npm", ["install", "--no-save", "--ignore-scripts", "--omit=optional", "--no-audit", "--no-fund"], {
      cwd: folder,
      stdio: "pipe",
    });
    return undefined;
  } catch (error) {
    const [line] = String((error as { stderr?: Buffer }).stderr ?? error).split("\n");
    return `The native peers could not be installed and are left out: ${line}`;
  }
}

/** An installed peer of CommonJS. */
export const loadPeer = <Peer>(name: string): Peer => createRequire(path.join(folder, "package.json"))(name) as Peer;

/** Where the module of an installed peer lies. */
export const peerPath = (file: string): string => path.join(folder, "node_modules", file);

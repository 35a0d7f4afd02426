// `npm start`: the worker under wrangler dev at http://127.0.0.1:PORT, its data in DATA_DIR, .wrangler/state unless told.
// Says where it is in one line, then passes on what the worker logs; what wrangler itself says is shown only when it
// fails to start.
import { rmSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import path from "node:path";
import { createInterface } from "node:readline";
import { claimFolder, freePort, refuse, tie } from "./place.ts";
import { accessNote, settingsFile, settingsOf } from "./settings.ts";
import { startWrangler } from "./wrangler.ts";

const port = await freePort("PORT");
const root = path.resolve(import.meta.dirname, "../../..");
const dataDir = path.resolve(root, process.env["DATA_DIR"] ?? ".wrangler/state");
const settings = ownSettings();
const claim = await claimFolder(dataDir, "wrangler").catch((error: Error) => refuse(error.message));
// Not as options: other users of a machine see those.
const variables = path.join(dataDir, "settings.env");
rmSync(variables, { force: true });
await writeFile(variables, settingsFile(settings), { mode: 0o600 });
const where = ["--ip", "127.0.0.1", "--port", String(port), "--persist-to", dataDir, "--env-file", variables];
const child = startWrangler("dev", ...where, "--show-interactive-dev-session=false");
await claim.heldBy(child);

let isReady = false;
const starting: string[] = [];
for (const stream of [child.stdout, child.stderr]) {
  createInterface({ input: stream }).on("line", (line) => {
    if (line.includes("Ready on http")) {
      isReady = true;
      console.log(`Griffin Edge is at http://127.0.0.1:${port} (Ctrl-C stops it)`);
      const note = accessNote(settings);
      if (note !== "") console.log(note);
    } else if (line.startsWith('{"event"')) {
      // What goes on from before begins before anything else does.
      console.log(line);
    } else if (!isReady) starting.push(line);
    else if (!line.startsWith("[wrangler:info]") && !line.includes("Logs were written to") && line.trim() !== "") {
      console.log(line);
    }
  });
}

tie(child);
child.on("close", (status) => {
  rmSync(variables, { force: true });
  const said = starting.join("\n");
  if (!isReady) console.error(said);
  process.exitCode = isReady ? 0 : (status ?? 1);
});

function ownSettings(): Record<string, string> {
  try {
    return settingsOf(process.env);
  } catch (error) {
    return refuse((error as Error).message);
  }
}

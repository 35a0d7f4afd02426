// Random requests made from the OpenAPI document, right and wrong ones, by Schemathesis: nothing fails for a reason of
// ours, and every answer has the form that the document gives it. It needs Python with test/python/requirements.txt.
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { expect, it } from "vitest";
import { startServer } from "../server.ts";

const schemathesis = path.resolve(import.meta.dirname, "../../.venv/bin/schemathesis");
const isThere = existsSync(schemathesis);

const checks = [
  "not_a_server_error",
  "status_code_conformance",
  "content_type_conformance",
  "response_schema_conformance",
];

it.skipIf(!isThere)(
  `random requests get answers that fit the document${isThere ? "" : " (skipped: no .venv with test/python/requirements.txt)"}`,
  { timeout: 300_000 },
  async () => {
    const server = await startServer();
    const folder = await mkdtemp(path.join(tmpdir(), "griffin-schemathesis-"));
    try {
      const options = ["--checks", checks.join(","), "--suppress-health-check", "all", "--no-color"];
      const run = ["run", `${server.url}/openapi.json`, ...options, "--max-examples", "15", "--seed", "1"];
      const child = spawn(schemathesis, run, { cwd: folder });
      let said = "";
      for (const stream of [child.stdout, child.stderr]) stream.on("data", (text) => (said += String(text)));
      const status = await new Promise((resolve) => void child.once("close", resolve));
      expect(status, said).toBe(0);
      expect(Number(/^\s*(\d+) generated/m.exec(said)?.[1])).toBeGreaterThan(500);
    } finally {
      await server.stop();
      await rm(folder, { recursive: true });
    }
  },
);

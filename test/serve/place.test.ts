// Where a server may be, and what is said where it may not.
import { spawn } from "node:child_process";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { startWorkerd } from "../../src/cli/serve/workerd.ts";
import { startServer, type TestServer } from "../server.ts";

const root = path.resolve(import.meta.dirname, "../..");
let server: TestServer;
beforeAll(async () => {
  server = await startServer();
});
afterAll(() => server.stop());

/** What a script says before it ends, and with which status. */
function ended(script: string, env: Record<string, string>): Promise<{ status: number | null; said: string }> {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, [script], { cwd: root, env: { ...process.env, ...env } });
    let said = "";
    for (const stream of [child.stdout, child.stderr]) stream.on("data", (data) => (said += data));
    child.once("close", (status) => resolve({ status, said }));
  });
}

describe.each(["src/cli/serve/dev.ts", "src/cli/serve/workerd.ts"])("%s", (script) => {
  it("says in one line that a port is taken", async () => {
    const port = new URL(server.url).port;
    const { status, said } = await ended(script, { PORT: port });
    expect({ status, said }).toEqual({ status: 1, said: `Port ${port} is taken; PORT=… chooses another.\n` });
  });

  it.each([
    ["ADMIN_KEY", "two words"],
    ["ADMIN_KEY", "from a file\n"],
    ["KEY_SECRET", "schl\u00fcssel"],
  ])("says in one line that %s cannot be %j", async (name, value) => {
    const port = String(10_000 + Math.floor(Math.random() * 20_000));
    const { status, said } = await ended(script, { PORT: port, DATA_DIR: server.dataDir, [name]: value });
    const why = `${name} may have neither white space nor letters outside ASCII in it.\n`;
    expect({ status, said }).toEqual({ status: 1, said: why });
  });

  it.each(["abc", "0", "70000"])("says in one line that %s is no port", async (port) => {
    const { status, said } = await ended(script, { PORT: port });
    expect({ status, said }).toEqual({ status: 1, said: `PORT must be from 1 to 65535, got "${port}".\n` });
  });
});

it.each(["ORIGIN_PORT", "PORT"])(
  "an edge with an origin says in one line that the port of %s is taken",
  async (name) => {
    const port = new URL(server.url).port;
    const { status, said } = await ended("src/cli/serve/with-origin.ts", { [name]: port });
    expect({ status, said }).toEqual({ status: 1, said: `Port ${port} is taken; ${name}=… chooses another.\n` });
  },
);

it("two servers never share a data folder, and one that died gives it up", async () => {
  const { dataDir } = server;
  await expect(startWorkerd({ port: 0, dataDir })).rejects.toThrow(/is in use by process \d+/);
  await server.kill("SIGKILL");
  await server.restart();
  expect((await fetch(`${server.url}/health`)).status).toBe(200);
});

// The same engine in a real browser: bundled, served from this process, run in chromium.
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { build } from "esbuild";
import { chromium, type BrowserContext, type Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { fingerprints } from "../parity/fingerprint.ts";
import { formats } from "../../src/model/weights.ts";

/** What page.ts puts there. */
declare const griffin: {
  pageFingerprint(format: string, isPlain: boolean): Promise<string>;
  reply(message: string): Promise<string>;
};

const root = path.resolve(import.meta.dirname, "../..");
const executablePath = "/usr/bin/chromium";
const types: Record<string, string> = { ".wasm": "application/wasm", ".js": "text/javascript", ".html": "text/html" };

/** The page, its script, the kernels and the pocket folder. */
async function serve(): Promise<Server> {
  const { outputFiles } = await build({
    entryPoints: [path.join(root, "test/browser/page.ts")],
    bundle: true,
    format: "esm",
    platform: "browser",
    write: false,
  });
  const script = outputFiles[0]!.contents;
  const server = createServer((request, response) => {
    const name = request.url ?? "/";
    const answer = async () => {
      if (name === "/") return Buffer.from('<!doctype html><script type="module" src="/page.js"></script>');
      if (name === "/page.js") return script;
      if (/^\/griffin(-relaxed)?\.wasm$/.test(name)) return readFile(path.join(root, "dist", name));
      if (/^\/pocket\/[\w.]+$/.test(name)) return readFile(path.join(root, "models", name));
      throw new Error(`no ${name}`);
    };
    answer().then(
      (body) => response.setHeader("content-type", types[path.extname(name)] ?? "text/html").end(body),
      () => response.writeHead(404).end(),
    );
  });
  await new Promise<void>((resolve) => void server.listen(0, "127.0.0.1", resolve));
  return server;
}

describe.skipIf(!existsSync(executablePath))("in chromium", () => {
  const profile = mkdtempSync(path.join(tmpdir(), "griffin-chromium-"));
  let server: Server;
  let browser: BrowserContext;
  let page: Page;
  beforeAll(async () => {
    server = await serve();
    const quiet = ["--disable-quic", "--no-first-run", "--disable-background-networking"];
    const args = ["--no-sandbox", "--disable-gpu", ...quiet, "--disable-component-update", "--disable-sync"];
    browser = await chromium.launchPersistentContext(profile, { executablePath, headless: true, args });
    page = await browser.newPage();
    await page.goto(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`);
    await page.waitForFunction("globalThis.griffin");
  });
  afterAll(async () => {
    await browser.close();
    server.close();
    rmSync(profile, { recursive: true, force: true });
  });

  it.each(formats)("the logits of pocket are the same bits as everywhere, in %s", async (format) => {
    for (const isPlain of [true, false]) {
      const got = await page.evaluate(([name, plain]) => griffin.pageFingerprint(name, plain), [
        format,
        isPlain,
      ] as const);
      expect(got).toBe(fingerprints[format]);
    }
  });

  it("the engine replies", async () => {
    expect(await page.evaluate(() => griffin.reply("What is 7 plus 5?"))).toMatch(/12/);
  });
});

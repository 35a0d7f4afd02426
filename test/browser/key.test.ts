// The chat page in front of a server that asks for keys.
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { chromium } from "playwright-core";
import { describe, expect, it } from "vitest";
import { administrator } from "../serve/administrator.ts";
import { startServer } from "../server.ts";

const executablePath = "/usr/bin/chromium";

describe.skipIf(!existsSync(executablePath))("the chat page", () => {
  it("asks for a key once, again when it is not good, and keeps it", async () => {
    const profile = mkdtempSync(path.join(tmpdir(), "griffin-key-"));
    const server = await startServer({ environment: { ADMIN_KEY: "administrators" } });
    const quiet = ["--disable-quic", "--no-first-run", "--disable-background-networking"];
    const args = ["--no-sandbox", "--disable-gpu", ...quiet, "--disable-component-update", "--disable-sync"];
    const browser = await chromium.launchPersistentContext(profile, { executablePath, headless: true, args });
    try {
      const admin = administrator(server.url, "administrators");
      const { secret } = await admin.createKey((await admin.createTenant("t")).id, { name: "page" });
      const page = await browser.newPage();
      const faults: string[] = [];
      page.on("pageerror", ({ message }) => faults.push(message));
      await page.goto(`${server.url}/`);
      const field = page.getByLabel("API key", { exact: true });
      const say = async (message: string) => {
        await page.fill("#draft", message);
        await page.press("#draft", "Enter");
      };
      const use = async (key: string) => {
        await field.waitFor();
        await field.fill(key);
        await page.getByRole("button", { name: "Use it" }).click();
      };
      await say("My name is Ada.");
      await use("gk_wrong");
      await field.waitFor();
      await page.screenshot({ path: path.join(tmpdir(), "griffin-page-key.png") });
      await use(secret);
      const reply = page.locator(".turn .reply .text").last();
      await reply.filter({ hasText: "Ada" }).waitFor();
      await page.reload();
      await page.locator(".turn .reply .text").last().filter({ hasText: "Ada" }).waitFor();
      expect(await field.isVisible()).toBe(false);

      await page.evaluate(() => localStorage.removeItem("griffin_api_key"));
      await say("What is my name?");
      await page.getByRole("button", { name: "Not now" }).click();
      await page.getByText("This server asks for an API key, and there is none").first().waitFor();
      expect(faults).toEqual([]);
    } finally {
      await browser.close();
      await server.stop();
      rmSync(profile, { recursive: true, force: true });
    }
  });
});

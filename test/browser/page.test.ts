// The chat page in a real browser against a real server that is killed under it.
import { existsSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { chromium, type BrowserContext, type Locator, type Page, type Route } from "playwright-core";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { startServer, type TestServer } from "../server.ts";

const executablePath = "/usr/bin/chromium";
/** Looked at by people: every view, wide and narrow, light and dark. */
const pictures = path.join(tmpdir(), "griffin-page");

describe.skipIf(!existsSync(executablePath))("the chat page", () => {
  const profile = mkdtempSync(path.join(tmpdir(), "griffin-chromium-"));
  let server: TestServer;
  let browser: BrowserContext;
  let page: Page;
  /** What the page threw, and what its security policy refused. */
  let faults: string[];

  beforeAll(async () => {
    mkdirSync(pictures, { recursive: true });
    server = await startServer();
    const quiet = ["--disable-quic", "--no-first-run", "--disable-background-networking"];
    const args = ["--no-sandbox", "--disable-gpu", ...quiet, "--disable-component-update", "--disable-sync"];
    browser = await chromium.launchPersistentContext(profile, { executablePath, headless: true, args });
  });
  afterAll(async () => {
    await browser.close();
    await server.stop();
    rmSync(profile, { recursive: true, force: true });
  });
  beforeEach(async () => {
    faults = [];
    page = await browser.newPage();
    page.on("pageerror", ({ message }) => faults.push(message));
    page.on("console", (line) => {
      if (line.text().includes("Content Security Policy")) faults.push(line.text());
    });
    await page.goto(`${server.url}/`);
    await page.evaluate(() => localStorage.clear());
    await page.reload();
  });
  afterEach(async () => {
    await page.close();
    if (faults.length > 0) throw new Error(faults.join("\n"));
  });

  const turns = () => page.locator(".turn");
  const last = () => turns().last();
  const reply = (turn: Locator) => turn.locator(".reply .text");
  const figures = (turn: Locator) => turn.locator(".figures");
  const click = (name: string, where: Locator | Page = page) =>
    where.getByRole("button", { name, exact: true }).click();

  /** Waits until nothing runs. */
  const settled = async () => {
    await page.locator(".turn.running").waitFor({ state: "detached" });
    await page.locator("#send", { hasText: "Send" }).waitFor();
  };
  const write = async (message: string) => {
    await page.fill("#draft", message);
    await page.press("#draft", "Enter");
  };
  /** Says something and waits for the reply. */
  const say = async (message: string) => {
    const before = await turns().count();
    await write(message);
    await turns().nth(before).waitFor();
    await settled();
    return reply(last()).innerText();
  };
  /** Runs in the page as soon as the reply of the last turn has so many characters. */
  const clickWhenLong = (selector: string, characters: number) =>
    page.evaluate(
      ([target, length]) =>
        new Promise<void>((resolve) => {
          const observer = new MutationObserver(() => {
            const text = document.querySelector(".turn.running .reply .text")?.textContent ?? "";
            if (text.length < length) return;
            observer.disconnect();
            if (target) document.querySelector<HTMLElement>(target)?.click();
            resolve();
          });
          observer.observe(document.body, { subtree: true, childList: true, characterData: true });
        }),
      [selector, characters] as const,
    );

  it("shows a reply as it grows, then what it cost", async () => {
    const lengths = page.evaluate(
      () =>
        new Promise<number[]>((resolve) => {
          const seen: number[] = [];
          const observer = new MutationObserver(() => {
            const turn = document.querySelector(".turn");
            const length = turn?.querySelector(".reply .text")?.textContent?.length ?? 0;
            if (length > (seen.at(-1) ?? 0)) seen.push(length);
            if (turn?.getAttribute("aria-busy") !== "false") return;
            observer.disconnect();
            resolve(seen);
          });
          observer.observe(document.body, { subtree: true, childList: true, characterData: true, attributes: true });
        }),
    );
    await click("Tell me a story about a fox.");
    await settled();
    expect((await lengths).length).toBeGreaterThan(2);
    expect(await reply(last()).innerText()).toMatch(/fox/i);
    expect(await figures(last()).innerText()).toMatch(
      /^45 KB state, cold\D+0 tokens restored, \d+ computed\D+first token [\d.]+ m?s\D+[\d,]+ tokens\/s$/,
    );
    expect(await page.locator("#announcer").innerText()).toMatch(/fox/i);
  });

  /** Pocket talks faster than anybody clicks: its next reply goes on for so many tokens. */
  const letTalk = (tokens: number) =>
    page.route(
      "**/v1/responses",
      (route) => {
        const body = { ...(route.request().postDataJSON() as object), logit_bias: { 1: -100, 5: -100 } };
        return route.continue({ postData: JSON.stringify({ ...body, max_output_tokens: tokens }) });
      },
      { times: 1 },
    );

  it("stops a reply and goes on after it", async () => {
    await letTalk(60_000);
    const stopped = clickWhenLong("#send", 8);
    await write("Tell me a story about a fox.");
    await stopped;
    await settled();
    expect(await last().locator(".ending").innerText()).toBe("Stopped");
    const text = await reply(last()).innerText();
    expect(text.length).toBeGreaterThanOrEqual(8);
    expect(await say("What is 7 plus 5?")).toMatch(/12/);
    expect(await figures(last()).innerText()).toMatch(/restored/);
    expect(await reply(turns().first()).innerText()).toBe(text);
  });

  it("regenerates the last reply and keeps the old one a click away", async () => {
    await say("My name is Ada.");
    const first = await say("Tell me a story about a fox.");
    await click("Regenerate", last());
    await last().getByText("2/2").waitFor();
    await settled();
    const second = await reply(last()).innerText();
    expect(await turns().count()).toBe(2);
    expect(await figures(last()).innerText()).toMatch(/45 KB state, restored/);
    await click("Earlier version", last());
    await last().getByText("1/2").waitFor();
    expect(await reply(last()).innerText()).toBe(first);
    await page.reload();
    await last().getByText("1/2").waitFor();
    await click("Later version", last());
    expect(await reply(last()).innerText()).toBe(second);
    await say("What is 7 plus 5?");
    expect(await reply(turns().nth(1)).innerText()).toBe(second);
    expect(await turns().count()).toBe(3);
  });

  it("sends an edited message from where it was said", async () => {
    await say("My name is Ada.");
    await say("What is 7 plus 5?");
    await click("Edit", turns().first());
    await turns().first().getByRole("textbox").fill("My name is Tom.");
    await page.keyboard.press("Enter");
    await page.getByText("2/2").waitFor();
    await settled();
    expect(await turns().count()).toBe(1);
    expect(await figures(last()).innerText()).toMatch(/cold\D+0 tokens restored/);
    expect(await say("What is my name?")).toMatch(/Tom/);
    await click("Earlier version", turns().first());
    await turns().nth(1).waitFor();
    expect(await say("What is my name?")).toMatch(/Ada/);
  });

  it("forks at a turn into a chat of its own", async () => {
    await say("My name is Ada.");
    await say("My name is Tom.");
    const address = page.url();
    await click("Fork", turns().first());
    await page.waitForURL((url) => url.href !== address);
    await turns().first().waitFor();
    expect(await turns().count()).toBe(1);
    expect(await page.locator("#list a").allInnerTexts()).toEqual(["Fork of My name is Ada.", "My name is Ada."]);
    expect(await say("What is my name?")).toMatch(/Ada/);
    await page.goBack();
    await turns().nth(1).waitFor();
    expect(await say("What is my name?")).toMatch(/Tom/);
  });

  it("begins a new chat and finds the old one in the list", async () => {
    await say("My name is Ada.");
    await page.fill("#draft", "half a thought");
    await page.getByRole("link", { name: "New chat", exact: true }).click();
    await page.getByText("Hello.").waitFor();
    expect(await page.inputValue("#draft")).toBe("");
    expect(await say("What is my name?")).not.toMatch(/Ada/);
    await page.getByRole("link", { name: "My name is Ada." }).click();
    await page.getByText("My name is Ada.").first().waitFor();
    expect(await page.inputValue("#draft")).toBe("half a thought");
    expect(await say("What is my name?")).toMatch(/Ada/);
  });

  it("has the chat, its figures and the draft after a reload", async () => {
    await say("My name is Ada.");
    const shown = await page.locator("#turns").innerText();
    await page.fill("#draft", "What is");
    await page.reload();
    await settled();
    await last().waitFor();
    expect(await page.locator("#turns").innerText()).toBe(shown);
    expect(await page.inputValue("#draft")).toBe("What is");
    await page.fill("#draft", "");
    expect(await say("What is my name?")).toMatch(/Ada/);
    await page.reload();
    await last().waitFor();
    expect(await page.inputValue("#draft")).toBe("");
  });

  it("goes on watching a reply that was running when it was reloaded", async () => {
    await letTalk(6_000);
    const begun = clickWhenLong("", 1);
    await write("Tell me a story about a fox.");
    await begun;
    const before = await reply(last()).innerText();
    await page.reload();
    await last().waitFor();
    await settled();
    const after = await reply(last()).innerText();
    expect(after.startsWith(before)).toBe(true);
    expect(after.length).toBeGreaterThan(6_000);
    expect(await turns().count()).toBe(1);
  });

  it("remembers over kill -9, and sends what was written meanwhile once", async () => {
    await say("My name is Ada.");
    await say("Tell me a story about a fox.");
    await say("What is 7 plus 5?");
    await server.kill("SIGKILL");
    await write("What is my name?");
    await page.getByText("The server cannot be reached.").waitFor();
    await server.restart();
    await click("Try now").catch(() => {});
    await settled();
    expect(await reply(last()).innerText()).toMatch(/Ada/);
    expect(await figures(last()).innerText()).toMatch(/restored\D+[\d,]+ tokens restored/);
    expect(await page.locator("#notice").innerText()).toBe("");
    await page.reload();
    await turns().nth(3).waitFor();
    expect(await turns().count()).toBe(4);
  });

  it("says nothing twice when the answer to a message is lost", async () => {
    await say("My name is Ada.");
    const lose = async (route: Route) => {
      await route.fetch();
      await route.abort("connectionreset");
    };
    await page.route("**/v1/responses", lose, { times: 1 });
    expect(await say("What is my name?")).toMatch(/Ada/);
    await page.reload();
    await turns().nth(1).waitFor();
    expect(await turns().count()).toBe(2);
  });

  it("goes on with a reply in whose midst the server was killed", async () => {
    await letTalk(6_000);
    const begun = clickWhenLong("", 12);
    await write("Tell me a story about a fox.");
    await begun;
    await server.kill("SIGKILL");
    const before = await reply(last()).innerText();
    await server.restart();
    await settled();
    const after = await reply(last()).innerText();
    expect(after.startsWith(before)).toBe(true);
    expect(after.length).toBeGreaterThan(6_000);
    await page.reload();
    await last().waitFor();
    expect(await reply(last()).innerText()).toBe(after);
  });

  it("gives back a message that is stopped before the server had it", async () => {
    await say("My name is Ada.");
    await server.kill("SIGKILL");
    await write("What is my name?");
    await page.getByText("The server cannot be reached.").waitFor();
    await click("Stop");
    await settled();
    expect(await turns().count()).toBe(1);
    expect(await page.inputValue("#draft")).toBe("What is my name?");
    await server.restart();
    await page.press("#draft", "Enter");
    await turns().nth(1).waitFor();
    await settled();
    expect(await reply(last()).innerText()).toMatch(/Ada/);
  });

  it("says a refusal in words, and tries again", async () => {
    await say("My name is Ada.");
    const error = { message: "busy", type: "invalid_request_error", param: null, code: "conversation_busy" };
    await page.route("**/v1/responses", (route) => route.fulfill({ status: 409, json: { error } }), { times: 1 });
    await write("What is my name?");
    await page.locator(".fault", { hasText: "A reply is still being written in this chat" }).waitFor();
    await click("Try again");
    await settled();
    expect(await reply(last()).innerText()).toMatch(/Ada/);
    expect(await turns().count()).toBe(2);
  });

  it("takes what people type as text and nothing else", async () => {
    const text = '<b onclick="x">My</b> name\n\n  is <img src=x onerror=alert(1)>';
    await say(text);
    expect(
      await last()
        .locator(".said .text")
        .evaluate((said) => said.textContent),
    ).toBe(text);
    expect(await page.locator("#turns b, #turns img, #list b").count()).toBe(0);
  });

  it("begins a line with Shift and Enter, and leaves Enter to an input method", async () => {
    await page.fill("#draft", "one");
    await page.press("#draft", "Shift+Enter");
    await page.keyboard.type("two");
    await page.locator("#draft").dispatchEvent("keydown", { key: "Enter", isComposing: true, bubbles: true });
    expect(await page.inputValue("#draft")).toBe("one\ntwo");
    expect(await turns().count()).toBe(0);
  });

  it("deletes a chat, here and on the server, after asking", async () => {
    await say("My name is Ada.");
    const id = new URL(page.url()).hash.slice(1);
    await click("Delete “My name is Ada.”");
    await click("Keep it");
    expect(await page.locator("#list li").count()).toBe(1);
    await click("Delete “My name is Ada.”");
    await click("Delete", page.locator("#confirm"));
    await page.locator("#list li").waitFor({ state: "detached" });
    expect(await page.getByText("Hello.").isVisible()).toBe(true);
    expect((await fetch(`${server.url}/v1/conversations/${id}`)).status).toBe(404);
    await page.goto(`${server.url}/#${id}`);
    await page.getByText("The server does not have this chat any more.").waitFor();
  });

  it("links to the card of its model", async () => {
    const card = await page.request.get(
      new URL((await page.getByText("its card").getAttribute("href"))!, page.url()).href,
    );
    expect(card.headers()["content-type"]).toMatch(/^text\/plain/);
    expect(await card.text()).toMatch(/Pocket/);
  });

  it.each([
    [1280, 800, "light"],
    [1280, 800, "dark"],
    [375, 720, "light"],
    [375, 720, "dark"],
    [320, 568, "light"],
  ] as const)("fits %i × %i, %s", async (width, height, colorScheme) => {
    const picture = async (name: string) => {
      await page.screenshot({ path: path.join(pictures, `${width}-${colorScheme}-${name}.png`) });
      const overflow = await page.evaluate(() =>
        [...document.querySelectorAll("body, #transcript, #below, .said, .reply, .figures")]
          .filter(({ scrollWidth, clientWidth }) => scrollWidth > clientWidth)
          .map(({ id, className }) => id || className),
      );
      expect(overflow).toEqual([]);
    };
    await page.setViewportSize({ width, height });
    await page.emulateMedia({ colorScheme });
    await picture("empty");
    await say("My name is Ada.");
    await say("Tell me a story about a fox.");
    await click("Regenerate", last());
    await last().getByText("2/2").waitFor();
    await settled();
    await picture("chat");
    await say(`A word of ${"length".repeat(40)} and\nWhat is my name?`);
    await page.locator("#transcript").evaluate((scroller) => scroller.scrollTo(0, scroller.scrollHeight));
    await picture("long");
    if (width < 800) {
      await click("Chats");
      await picture("list");
    }
  });

  it("shows the API at /docs, without the network", async () => {
    const foreign: string[] = [];
    page.on("request", (request) => {
      if (!request.url().startsWith(server.url) && !request.url().startsWith("data:")) foreign.push(request.url());
    });
    await page.goto(`${server.url}/docs`);
    await page.getByText("/v1/chat/completions").first().waitFor();
    await page.getByText("Reply to a whole history").click();
    await page.getByRole("button", { name: "Execute" }).waitFor();
    await page.screenshot({ path: path.join(pictures, "docs.png") });
    expect(foreign).toEqual([]);
  });

  it("says what is kept of what people say", async () => {
    await page.goto(`${server.url}/transparency`);
    await page.getByRole("heading", { name: "What is kept" }).waitFor();
    await page.screenshot({ path: path.join(pictures, "transparency.png") });
    expect(await page.getByRole("link", { name: "Pocket's card" }).getAttribute("href")).toBe("/card.txt");
  });
});

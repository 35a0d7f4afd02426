// Tells a screen reader what is being replied: sentence by sentence, since token by token is unbearable.
import { element } from "./dom.ts";

const keptSentences = 20;

export class Announcer {
  readonly #region: HTMLElement;
  #rest = "";

  /** `region` is a polite live region. */
  constructor(region: HTMLElement) {
    this.#region = region;
  }

  /** More of a reply. */
  grow(text: string): void {
    const [, whole = "", rest = ""] = /^([^]*[.!?…]\s)?([^]*)$/.exec(this.#rest + text) ?? [];
    this.#rest = rest;
    this.#say(whole);
  }

  /** The reply is over. */
  end(): void {
    this.#say(this.#rest);
    this.#rest = "";
  }

  #say(text: string): void {
    if (text.trim() === "") return;
    this.#region.append(element("p", {}, text.trim()));
    if (this.#region.childElementCount > keptSentences) this.#region.firstElementChild?.remove();
  }
}

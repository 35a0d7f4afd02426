// Where messages are written. A draft is kept with its chat until the message is on its way.
import { find } from "./dom.ts";
import { loadDraft, saveDraft } from "./chats.ts";
import { isEnter } from "./turn-view.ts";

export interface ComposerActions {
  send(message: string): void;
  stop(): void;
}

export class Composer {
  readonly #field = find("draft", HTMLTextAreaElement);
  readonly #send = find("send", HTMLButtonElement);
  readonly #actions: ComposerActions;
  #chat: string | null = null;
  #isBusy = false;
  #isReady = true;

  constructor(actions: ComposerActions) {
    this.#actions = actions;
    find("composer", HTMLFormElement).addEventListener("submit", (event) => {
      event.preventDefault();
      this.#submit();
    });
    this.#field.addEventListener("input", () => {
      saveDraft(this.#chat, this.#field.value);
      this.#fit();
    });
    this.#field.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && this.#isBusy) actions.stop();
      if (!isEnter(event)) return;
      event.preventDefault();
      if (!this.#isBusy) this.#submit();
    });
  }

  /** Goes over to the draft of a chat. */
  open(chat: string | null): void {
    this.#chat = chat;
    this.#field.value = loadDraft(chat);
    this.#fit();
  }

  /** The message is on its way, in a chat that may only now have got its name. What was written since is the draft. */
  sent(chat: string): void {
    this.#chat = chat;
    saveDraft(chat, this.#field.value);
  }

  /** While a reply is being written, the button stops it. Until the chat is there, nothing can be sent. */
  setState({ isBusy, isReady }: { isBusy: boolean; isReady: boolean }): void {
    this.#isBusy = isBusy;
    this.#isReady = isReady;
    this.#update();
  }

  /** A message that was not sent, before whatever was written since. */
  giveBack(message: string): void {
    this.#field.value = [message, this.#field.value].filter(Boolean).join("\n");
    saveDraft(this.#chat, this.#field.value);
    this.#fit();
  }

  focus(): void {
    this.#field.focus();
  }

  #submit(): void {
    if (this.#isBusy) return this.#actions.stop();
    const message = this.#field.value;
    if (message.trim() === "" || !this.#isReady) return;
    this.#field.value = "";
    this.#fit();
    this.#actions.send(message);
  }

  #update(): void {
    this.#send.classList.toggle("stop", this.#isBusy);
    this.#send.textContent = this.#isBusy ? "Stop" : "Send";
    // Not `disabled`: the keyboard would lose its place when a reply ends.
    const isIdle = !this.#isBusy && (!this.#isReady || this.#field.value.trim() === "");
    this.#send.setAttribute("aria-disabled", String(isIdle));
  }

  #fit(): void {
    this.#update();
    if (CSS.supports("field-sizing", "content")) return;
    this.#field.style.height = "auto";
    this.#field.style.height = `${this.#field.scrollHeight}px`;
  }
}

// One turn on the page: the message, the reply, what it cost, and what can be done with it.
import { button, element, setChildren, setText } from "./dom.ts";
import { describe } from "./figures.ts";
import { hasFailed, isRunning, type Turn } from "./tree.ts";

export interface TurnActions {
  regenerate(turn: Turn): void;
  edit(turn: Turn, message: string): void;
  fork(turn: Turn): void;
  show(turn: Turn): void;
}

/** Views made so far: buttons name their message by it. */
let views = 0;

export class TurnView {
  readonly root: HTMLElement;
  readonly #turn: Turn;
  readonly #message = element("p", { class: "text" });
  readonly #said: HTMLElement;
  readonly #text = element("p", { class: "text" });
  readonly #reply: HTMLElement;
  readonly #figures = element("p", { class: "figures" });
  readonly #fault = element("p", { class: "fault" });
  readonly #ending = element("span", { class: "ending" });
  readonly #place = element("span", { class: "place" });
  readonly #buttons: Record<"edit" | "earlier" | "later" | "regenerate" | "fork" | "retry", HTMLButtonElement>;
  readonly #versionsBox: HTMLElement;
  readonly #actions = element("div", { class: "actions" });
  #versions: Turn[] = [];

  constructor(turn: Turn, actions: TurnActions) {
    this.#turn = turn;
    this.#message.id = `message-${++views}`;
    const ofMessage = { class: "quiet", "aria-describedby": this.#message.id };
    const move = (by: number) => {
      const target = this.#versions[this.#versions.indexOf(turn) + by];
      if (target) actions.show(target);
    };
    this.#buttons = {
      edit: button("Edit", () => this.#edit(actions), ofMessage),
      earlier: button("‹", () => move(-1), { class: "quiet", "aria-label": "Earlier version" }),
      later: button("›", () => move(1), { class: "quiet", "aria-label": "Later version" }),
      regenerate: button("Regenerate", () => actions.regenerate(turn), ofMessage),
      fork: button("Fork", () => actions.fork(turn), {
        ...ofMessage,
        title: "Begin a new chat that goes on from here",
      }),
      retry: button("Try again", () => actions.regenerate(turn)),
    };
    const { earlier, later } = this.#buttons;
    this.#versionsBox = element("span", { class: "versions" }, earlier, this.#place, later);
    this.#reply = element("div", { class: "reply" }, this.#text, this.#fault);
    this.#said = element("div", { class: "said" }, this.#message, this.#buttons.edit);
    this.root = element(
      "article",
      { class: "turn" },
      element("h2", { class: "unseen" }, "You said"),
      this.#said,
      element("h2", { class: "unseen" }, "pocket replied"),
      this.#reply,
      element("footer", {}, this.#figures, this.#actions),
    );
  }

  /** Brings everything up to date. */
  update(state: { versions: Turn[]; isLast: boolean; isBusy: boolean }): void {
    const turn = this.#turn;
    const { edit, earlier, later, regenerate, fork, retry } = this.#buttons;
    this.#versions = state.versions;
    const place = state.versions.indexOf(turn);
    setText(this.#message, turn.message);
    setText(this.#text, turn.reply);
    setText(this.#place, `${place + 1}/${state.versions.length}`);
    setChildren(this.#figures, figuresOf(turn));
    this.#figures.hidden = hasFailed(turn);
    setText(this.#ending, endings[turn.status] ?? "");
    setText(this.#fault, turn.fault ?? "");
    this.root.classList.toggle("running", isRunning(turn));
    this.root.setAttribute("aria-busy", String(isRunning(turn)));
    setChildren(this.#actions, [
      ...(hasFailed(turn) ? [retry] : []),
      ...(this.#ending.textContent ? [this.#ending] : []),
      ...(state.versions.length > 1 ? [this.#versionsBox] : []),
      ...(state.isLast && !hasFailed(turn) ? [regenerate] : []),
      ...(hasFailed(turn) ? [] : [fork]),
    ]);
    for (const each of [edit, regenerate, retry]) each.disabled = state.isBusy;
    fork.disabled = isRunning(turn);
    earlier.disabled = state.isBusy || place <= 0;
    later.disabled = state.isBusy || place >= state.versions.length - 1;
  }

  /** Adds to the reply without touching what stands there. */
  grow(text: string): void {
    const { lastChild } = this.#text;
    if (lastChild instanceof Text) lastChild.appendData(text);
    else this.#text.append(text);
  }

  /** Where the keyboard goes when the version changes under it. */
  focusVersions(): void {
    const { earlier, later } = this.#buttons;
    (earlier.disabled ? later : earlier).focus();
  }

  #edit(actions: TurnActions): void {
    const field = element("textarea", { "aria-label": "Your message, edited", rows: "1" });
    field.value = this.#turn.message;
    const close = () => {
      form.replaceWith(this.#said);
      this.#buttons.edit.focus();
    };
    const save = () => {
      const message = field.value;
      if (message.trim() === "" || this.#buttons.edit.disabled) return;
      close();
      actions.edit(this.#turn, message);
    };
    const choices = element(
      "div",
      { class: "choices" },
      button("Cancel", close),
      button("Send", save, { class: "main" }),
    );
    const form = element("div", { class: "said editing" }, field, choices);
    field.addEventListener("keydown", (event) => {
      if (event.key === "Escape") close();
      if (!isEnter(event)) return;
      event.preventDefault();
      save();
    });
    this.#said.replaceWith(form);
    field.focus();
  }
}

/** Whether a key press means "send": not within a composition (229 is Safari's word for it), not with Shift. */
export const isEnter = (event: KeyboardEvent): boolean =>
  event.key === "Enter" && !event.shiftKey && !event.isComposing && event.keyCode !== 229;

/** How a reply ended that did not end by itself. */
const endings: Partial<Record<Turn["status"], string>> = {
  cancelled: "Stopped",
  incomplete: "Cut short",
};

const figuresOf = ({ report, measured }: Turn): HTMLElement[] =>
  describe(report, measured).map((part) => element("span", {}, part));

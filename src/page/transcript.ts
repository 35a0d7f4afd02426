// The turns of the open chat, one below the other. It keeps to the end while the reader is there, and nowhere else.
import { find, setChildren } from "./dom.ts";
import type { Turn } from "./tree.ts";
import { TurnView, type TurnActions } from "./turn-view.ts";

/** What is shown: an OpenChat. */
interface Shown {
  path: readonly Turn[];
  chat: object | null;
  isBusy: boolean;
  versions(turn: Turn): Turn[];
}

/** So near to the end counts as being there, in px. */
const nearPixels = 48;

export class Transcript {
  readonly #scroller = find("transcript", HTMLElement);
  readonly #turns = find("turns", HTMLElement);
  readonly #empty = find("empty", HTMLElement);
  readonly #views = new WeakMap<Turn, TurnView>();
  readonly #actions: TurnActions;
  /** Text that came since the last frame. */
  readonly #grown = new Map<Turn, string>();

  constructor(actions: TurnActions) {
    this.#actions = actions;
  }

  render(shown: Shown): void {
    this.#grown.clear(); // it is part of what is shown now
    this.#keepingEnd(() => {
      const { path, isBusy } = shown;
      this.#empty.hidden = path.length > 0 || shown.chat !== null;
      for (const turn of path) {
        this.#viewOf(turn).update({ versions: shown.versions(turn), isLast: turn === path.at(-1), isBusy });
      }
      setChildren(
        this.#turns,
        path.map((turn) => this.#viewOf(turn).root),
      );
    });
  }

  /** More of a reply. It is shown with the next frame: a reply may come faster than anything can be laid out. */
  grow(turn: Turn, text: string): void {
    if (this.#grown.size === 0) requestAnimationFrame(() => this.#showGrown());
    this.#grown.set(turn, (this.#grown.get(turn) ?? "") + text);
  }

  #showGrown(): void {
    this.#keepingEnd(() => {
      for (const [turn, text] of this.#grown) this.#viewOf(turn).grow(text);
    });
    this.#grown.clear();
  }

  focusVersions(turn: Turn): void {
    this.#viewOf(turn).focusVersions();
  }

  scrollToEnd(): void {
    this.#scroller.scrollTop = this.#scroller.scrollHeight;
  }

  #viewOf(turn: Turn): TurnView {
    const view = this.#views.get(turn) ?? new TurnView(turn, this.#actions);
    this.#views.set(turn, view);
    return view;
  }

  #keepingEnd(change: () => void): void {
    const { scrollHeight, scrollTop, clientHeight } = this.#scroller;
    const isAtEnd = scrollHeight - scrollTop - clientHeight < nearPixels;
    change();
    if (isAtEnd) this.scrollToEnd();
  }
}

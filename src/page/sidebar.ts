// The list of chats.
import { button, element, find, setChildren, setText } from "./dom.ts";
import { listChats } from "./chats.ts";

export class Sidebar {
  readonly #list = find("list", HTMLUListElement);
  readonly #onDelete: (chat: string) => void;
  /** By chat id. */
  readonly #rows = new Map<string, { row: HTMLElement; link: HTMLElement; remove: HTMLElement }>();

  constructor(onDelete: (chat: string) => void) {
    this.#onDelete = onDelete;
  }

  /** Shows all chats; `current` is the open one's id. */
  render(current: string | null): void {
    setChildren(
      this.#list,
      listChats().map((chat) => {
        const { row, link, remove } = this.#rowOf(chat.id);
        const title = chat.title || "Chat";
        setText(link, title);
        link.title = title;
        remove.ariaLabel = `Delete “${title}”`;
        link.ariaCurrent = chat.id === current ? "page" : null;
        return row;
      }),
    );
  }

  #rowOf(id: string) {
    const link = element("a", { href: `#${id}` });
    const remove = button("×", () => this.#onDelete(id), { class: "quiet" });
    const made = this.#rows.get(id) ?? { row: element("li", {}, link, remove), link, remove };
    this.#rows.set(id, made);
    return made;
  }
}

/** Asks before something is gone for good. */
export function confirm(question: string): Promise<boolean> {
  const dialog = find("confirm", HTMLDialogElement);
  find("question", HTMLElement).textContent = question;
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}

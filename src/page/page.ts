// The chat page: puts together the open chat, the transcript, the composer and the list. The address names the chat:
// `#conv_…`, or nothing for a new one.
import { deleteConversation } from "./api.ts";
import { Announcer } from "./announcer.ts";
import { findChat, removeChat, saveChat, type Chat } from "./chats.ts";
import { Composer } from "./composer.ts";
import { button, element, find, setChildren, setText } from "./dom.ts";
import { OpenChat, type Listener } from "./open-chat.ts";
import { hurry } from "./patience.ts";
import { confirm, Sidebar } from "./sidebar.ts";
import { Transcript } from "./transcript.ts";
import { inWords } from "./words.ts";

const samples = ["My name is Ada.", "Tell me a story about a fox.", "What is 7 plus 5?"];

const announcer = new Announcer(find("announcer", HTMLElement));
const sidebar = new Sidebar((id) => void remove(id));
const composer = new Composer({ send: (message) => send(message), stop: () => void open.stop() });
const transcript = new Transcript({
  regenerate: (turn) => {
    void open.again(turn);
    focusComposer();
  },
  edit: (turn, message) => {
    void open.again(turn, message);
    focusComposer();
  },
  show: (turn) => {
    open.show(turn);
    transcript.focusVersions(turn);
  },
  fork: async (turn) => {
    try {
      const forked = await open.fork(turn);
      if (forked) location.hash = forked.id;
    } catch (error) {
      notify(inWords(error));
    }
  },
});
let open = new OpenChat(
  null,
  listenerOf(() => open),
);

find("samples", HTMLElement).append(
  ...samples.map((sample) =>
    element(
      "li",
      {},
      button(sample, () => send(sample), { class: "sample" }),
    ),
  ),
);
window.addEventListener("hashchange", openAddressed);
window.addEventListener("storage", () => sidebar.render(open.chat?.id ?? null));
document.addEventListener("click", ({ target }) => {
  // A link to the chat that is open changes no address, and still closes the list.
  if (target instanceof Element && target.closest("a[href^='#']")) find("chats", HTMLElement).hidePopover();
});
openAddressed();

/** Opens the chat that the address names. */
function openAddressed(): void {
  const [id = null] = /(?<=^#)conv_[a-z2-7]{32}_\d+$/.exec(location.hash) ?? [];
  open.close();
  const opened = new OpenChat(
    id === null ? null : (findChat(id) ?? adopt(id)),
    listenerOf(() => opened),
  );
  open = opened;
  notify(null);
  composer.open(id);
  render();
  transcript.scrollToEnd();
  focusComposer();
  void opened.load();
}

/** Not where it would bring up a keyboard of glass. */
function focusComposer(): void {
  if (matchMedia("(hover: hover)").matches) composer.focus();
}

/** A chat that this browser does not know yet: whoever has the address may read it. */
function adopt(id: string): Chat {
  const chat: Chat = { id, title: "", conversations: [id], current: id, sending: null, measured: {} };
  saveChat(chat);
  return chat;
}

function send(message: string): void {
  void open.send(message);
  transcript.scrollToEnd();
  focusComposer();
}

function render(): void {
  const { chat } = open;
  sidebar.render(chat?.id ?? null);
  transcript.render(open);
  composer.setState(open);
  setText(find("title", HTMLElement), chat?.title || "New chat");
  document.title = chat?.title ? `${chat.title} – Griffin Edge` : "Griffin Edge";
  if (open.fault === null || chat === null) return;
  const remedy = open.isGone
    ? button("Remove it from the list", () => forget(chat))
    : button("Try again", () => void open.load());
  notify(open.fault, remedy);
}

/** What the open chat tells; a chat that was closed is not heard. */
function listenerOf(self: () => OpenChat): Listener {
  const ifOpen =
    <T extends unknown[]>(act: (...values: T) => void) =>
    (...values: T) =>
      self() === open ? act(...values) : undefined;
  return {
    changed: ifOpen(render),
    grew: ifOpen((turn, text) => {
      transcript.grow(turn, text);
      announcer.grow(text);
    }),
    ended: ifOpen((turn) => {
      announcer.end();
      if (turn.fault) announcer.grow(`${turn.fault} `);
    }),
    began: ifOpen((chat) => {
      composer.sent(chat.id);
      if (location.hash !== `#${chat.id}`) history.replaceState(null, "", `#${chat.id}`);
      render();
    }),
    gaveBack: ifOpen((message) => composer.giveBack(message)),
    connection: ifOpen((lost) => {
      const tryNow = button("Try now", () => hurry.dispatchEvent(new Event("now")));
      if (lost) notify("The server cannot be reached. Nothing is lost; trying again…", tryNow);
      else notify(null);
    }),
  };
}

/** A line above the composer, or none. */
function notify(text: string | null, ...remedies: HTMLElement[]): void {
  const notice = find("notice", HTMLElement);
  const [said] = notice.children;
  if (text !== null && said?.textContent === text) return;
  setChildren(notice, text === null ? [] : [element("p", {}, text), ...remedies]);
}

async function remove(id: string): Promise<void> {
  const chat = findChat(id);
  if (chat === undefined) return;
  if (!(await confirm(`Delete “${chat.title || "Chat"}”? Its messages and its state will be gone for good.`))) return;
  try {
    await Promise.all(chat.conversations.map(deleteConversation));
    forget(chat);
  } catch (error) {
    notify(`The chat could not be deleted. ${inWords(error)}`);
  }
}

function forget(chat: Chat): void {
  removeChat(chat.id);
  if (open.chat?.id === chat.id) location.hash = "";
  sidebar.render(open.chat?.id ?? null);
  focusComposer();
}

// The few things the page asks of the DOM. Text only ever goes in as text nodes.
import { GriffinError } from "../errors.ts";

type Child = Node | string;

/** A new element with attributes and children. */
export function element<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Record<string, string> = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

/** A button that does one thing. */
export function button(label: string, act: () => void, attributes: Record<string, string> = {}): HTMLButtonElement {
  const made = element("button", { type: "button", ...attributes }, label);
  made.addEventListener("click", act);
  return made;
}

/** The element of index.html with an id. */
export function find<T extends HTMLElement>(id: string, kind: { new (): T; name: string }): T {
  const found = document.getElementById(id);
  if (found instanceof kind) return found;
  throw new GriffinError("internal", `index.html: expected a ${kind.name} with id "${id}".`);
}

/** Makes `wanted` the children of `parent`. Those that stay are not touched, so focus and selection stay too. */
export function setChildren(parent: Element, wanted: readonly Element[]): void {
  for (const child of Array.from(parent.children)) if (!wanted.includes(child)) child.remove();
  for (const [place, child] of wanted.entries()) {
    const there = parent.children[place] ?? null;
    if (there !== child) parent.insertBefore(child, there);
  }
}

/** Changes the text of an element if it is another one: assistive technology reads every change. */
export function setText(target: Element, text: string): void {
  if (target.textContent !== text) target.textContent = text;
}

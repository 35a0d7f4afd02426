// The API key, where the server asks for one: kept in this browser, and asked for when there is none or it is not good.
import { find } from "./dom.ts";

const storageKey = "griffin_api_key";

/** What a request says to be let in. */
export function keyHeaders(): Record<string, string> {
  const key = localStorage.getItem(storageKey);
  return key === null ? {} : { authorization: `Bearer ${key}` };
}

let asking: Promise<boolean> | undefined;

/** Asks for a key, once for all who need one; false where nobody gives one. */
export function askForKey(): Promise<boolean> {
  asking ??= ask().finally(() => (asking = undefined));
  return asking;
}

async function ask(): Promise<boolean> {
  const dialog = find("key", HTMLDialogElement);
  const field = find("key-field", HTMLInputElement);
  field.value = "";
  dialog.returnValue = "no";
  dialog.showModal();
  await new Promise((resolve) => void dialog.addEventListener("close", resolve, { once: true }));
  const key = field.value.trim();
  field.value = "";
  if (dialog.returnValue !== "yes" || key === "") return false;
  localStorage.setItem(storageKey, key);
  return true;
}

// Asks a person for the server's key where one is needed, once, and lets it be given later.

import { keepKey, onKeyNeeded } from "./api.js";
import { byId, say, show } from "./dom.js";

/** Make the dialog work. */
export function setUpKey() {
  const dialog = byId("key-dialog");
  const input = byId("key-input");
  const button = byId("key");
  let answer = null;

  const finish = (given) => {
    dialog.close();
    answer?.(given);
    answer = null;
  };

  byId("key-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const key = input.value.trim();
    if (!key) return;
    keepKey(key);
    input.value = "";
    finish(true);
    window.dispatchEvent(new Event("upscale-key"));
  });
  byId("key-later").addEventListener("click", () => finish(false));
  dialog.addEventListener("cancel", (event) => {
    event.preventDefault();
    finish(false);
  });
  button.addEventListener("click", () => open(""));

  function open(said) {
    say(byId("key-said"), said);
    show(button);
    if (!dialog.open) dialog.showModal();
    input.focus();
  }

  onKeyNeeded(
    (problem) =>
      new Promise((resolve) => {
        answer = resolve;
        open(problem.message.includes("not one of") ? "That key is not one of this server's." : "");
      }),
  );
}

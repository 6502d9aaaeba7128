// Shows a failure in words, near where it happened, and brings a keyboard and a screen reader there.

import { el } from "./dom.js";

/**
 * Show a problem in a place; the place is emptied first.
 * @param {HTMLElement} place where; near what was asked.
 * @param {Error} problem a `Problem`.
 * @param {(function(): void)|null} again offers to try once more.
 * @param {{takesFocus: boolean}} how not where a person is still answering: it would take the keyboard away.
 */
export function showFault(place, problem, again = null, { takesFocus = true } = {}) {
  const box = el(
    "div",
    { class: "notice notice--bad", role: "alert", tabindex: "-1", "data-code": problem.code || null },
    el("strong", {}, problem.title || "That did not work"),
    el("span", {}, sentence(problem.message)),
    problem.hint && el("span", { class: "soft" }, sentence(problem.hint)),
    problem.status >= 500 && problem.requestId && el("span", { class: "note" }, `Request ${problem.requestId}`),
    again && el("div", {}, el("button", { type: "button", class: "button button--small", onclick: again }, "Try again")),
  );
  place.replaceChildren(box);
  place.hidden = false;
  if (takesFocus) box.focus();
}

/** Take a shown problem away. */
export function clearFault(place) {
  place.replaceChildren();
  place.hidden = true;
}

/** Take away what said that the server does not answer: it does again. */
export function clearSilence() {
  for (const box of document.querySelectorAll('.notice[data-code="offline"]')) clearFault(box.parentElement);
}

/** Return a text that begins with a capital and ends with a full stop. */
export function sentence(text) {
  const trimmed = text.trim();
  const begun = trimmed.charAt(0).toUpperCase() + trimmed.slice(1);
  return /[.!?…]$/.test(begun) ? begun : `${begun}.`;
}

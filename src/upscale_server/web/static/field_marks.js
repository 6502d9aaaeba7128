// Marks answers that cannot be taken, beside their fields, so that nobody asks the server to learn of a slip.
// What only the server knows (what the source is, how much is allowed) stays its own to say.

import { byId, say, show } from "./dom.js";

/** The last CRF of each codec's encoder. */
const LAST_CRF = { hevc: 51, h264: 51, av1: 63 };
/** As the server's door has it. */
const MOST_SIDE = 65_535;

/** Mark each answer of the goal that cannot be taken, unmark the others, and return whether all can. */
export function answersAreRight() {
  const last = LAST_CRF[byId("codec").value] ?? 51;
  byId("crf").max = String(last);
  say(byId("crf-note"), `0 is best and largest, ${last} smallest`);
  const isOwnSize = !byId("custom").hidden;
  const right = [
    mark("width", !isOwnSize || isWhole("width", 2, MOST_SIDE), "A whole number of pixels, 2 or more"),
    mark("height", !isOwnSize || isWhole("height", 2, MOST_SIDE), "A whole number of pixels, 2 or more"),
    mark("crf", isLeftOpen("crf") || isWhole("crf", 0, last), `A whole number from 0 to ${last}, or nothing`),
    mark("most", isLeftOpen("most") || Number(byId("most").value) > 0, "A number over 0, or nothing"),
  ];
  return !right.includes(false);
}

/** Bring a person to the first answer that is marked. */
export function showFirstMark() {
  document.querySelector('[data-goal][aria-invalid="true"]')?.focus();
}

/** A field in which something stands that is no number has an empty value, too. */
function isLeftOpen(id) {
  return byId(id).value === "" && !byId(id).validity.badInput;
}

function isWhole(id, least, most) {
  const { value } = byId(id);
  return value !== "" && Number.isInteger(Number(value)) && Number(value) >= least && Number(value) <= most;
}

function mark(id, isRight, words) {
  const field = byId(id);
  const place = byId(`${id}-wrong`);
  if (isRight) field.removeAttribute("aria-invalid");
  else field.setAttribute("aria-invalid", "true");
  say(place, isRight ? "" : words);
  show(place, !isRight);
  const folded = field.closest("details");
  if (!isRight && folded) folded.open = true;
  return isRight;
}

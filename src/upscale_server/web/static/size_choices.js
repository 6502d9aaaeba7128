// Says what each size comes to for this very video, and puts behind "More sizes" what makes little sense of it.
//
// The plan decides; this only foretells it, by the same rule: a box is turned to lie as the video does, the picture fits
// into it, and its sides are even.

import { byId, show } from "./dom.js";

const BOXES = {
  SD2HD: [1920, 1080],
  SD24K: [3840, 2160],
  HD24K: [3840, 2160],
  "4K28K": [7680, 4320],
};
/** The longest side that a task's source mostly has: what is larger than the task before it, and not than this. */
const SOURCES = { SD2HD: [0, 1024], SD24K: [0, 1024], HD24K: [1024, 2048], "4K28K": [2048, 4096] };
/** A network four times, and the rest by plain enlargement: what goes beyond is invented. */
const MOST_TIMES = 5;

/** Tell whether a size is a box with a name. */
export const isTask = (value) => value in BOXES;

/** Return a size as text, in one piece. */
const sized = ({ width, height }) => `${width}\u00a0×\u00a0${height}`;

/**
 * Return what a task makes of a video: its size and how many times larger it is; with `fit` "exact" the box is filled.
 * @param {string} task such as "SD2HD".
 * @param {{width: number, height: number}} source as it is seen.
 */
export function becomes(task, source, fit = "") {
  const [long, short] = BOXES[task];
  const [width, height] = source.height > source.width ? [short, long] : [long, short];
  const times = Math.min(width / source.width, height / source.height);
  if (fit === "exact") return { width, height, times };
  return { width: even(source.width * times), height: even(source.height * times), times };
}

/** Return the nearest even number, of two the lower. */
function even(side) {
  const exact = Math.round(side * 1e6) / 1e6; // a box divided by a side and multiplied again is itself
  const lower = 2 * Math.floor(exact / 2);
  return Math.max(2, exact - lower <= 1 ? lower : lower + 2);
}

/** Say what the choices come to, and put each where it belongs. */
export function showSizes(source, fit) {
  for (const factor of [2, 4]) {
    byId(`size-${factor}-words`).textContent = sized({ width: source.width * factor, height: source.height * factor });
  }
  for (const choice of document.querySelectorAll("[data-task]")) {
    const made = becomes(choice.dataset.task, source, fit);
    const [over, most] = SOURCES[choice.dataset.task];
    const isMeant = Math.max(source.width, source.height) > over && Math.max(source.width, source.height) <= most;
    choice.querySelector(".note").textContent = made.times > 1 ? sized(made) : "it is as large already";
    place(choice, isMeant && made.times > 1 && made.times <= MOST_TIMES);
  }
  show(byId("more-sizes"), byId("more-sizes-choices").children.length > 0);
}

/** Put a choice among the sensible ones, before the factors, or behind "More sizes"; what is there already stays. */
function place(choice, isSensible) {
  const home = isSensible ? byId("sizes") : byId("more-sizes-choices");
  if (choice.parentElement === home) return;
  const rank = (one) => Object.keys(BOXES).indexOf(one.dataset.task);
  const after = [...home.children].find((one) => !one.dataset.task || rank(one) > rank(choice));
  home.insertBefore(choice, after ?? null);
}

/** Let the chosen size be seen, also behind "More sizes". */
export function revealSize() {
  if (byId("more-sizes-choices").querySelector(":checked")) byId("more-sizes").open = true;
}

// Builds what stands around the compared pictures: bars of real buttons, a real slider, a line of words, facts.
// It knows what a control is called and which wish it makes; what the wish does stands in `compare.js`.

import { el, icon } from "./dom.js";

export const MODES = [
  ["wipe", "Wipe", "Draw a line across: the first picture left of it, the other one right"],
  ["side", "Side by side", "Both pictures, the same part of each"],
  ["hold", "Hold", "See the first picture while you press"],
  ["switch", "Switch", "One picture after the other in the same place"],
];
export const ZOOMS = [
  [0, "Fit", "All of the picture"],
  [1, "1:1", "One pixel of the screen for each of the picture"],
  [2, "2:1", "Two pixels of the screen for each of the picture"],
  [4, "4:1", "Four pixels of the screen for each of the picture, unsmoothed"],
];

const SIGNS = {
  play: ["M7 4.5v15l12-7.5z"],
  pause: ["M8 5v14", "M16 5v14"],
  back: ["M18 5.5v13L8.5 12z", "M5.5 5.5v13"],
  forward: ["M6 5.5v13l9.5-6.5z", "M18.5 5.5v13"],
  loop: ["M4 11a6 6 0 0 1 6-6h9", "M16 2l3 3-3 3", "M20 13a6 6 0 0 1-6 6H5", "M8 22l-3-3 3-3"],
  full: ["M4 9V4h5", "M15 4h5v5", "M20 15v5h-5", "M9 20H4v-5"],
  grip: ["M9 7l-5 5 5 5", "M15 7l5 5-5 5"],
};

/** Return one of the signs on the controls. */
export const drawn = (name) => icon(...SIGNS[name]);

/** The name of the item at a place: A, B, C. */
export const letter = (place) => String.fromCharCode(65 + place);

/**
 * Build everything.
 * @param {Object<string, function>} wishes what the controls ask for, by name.
 * @returns {Object<string, HTMLElement>} the parts that change.
 */
export function build(wishes) {
  const parts = {
    modes: group("Way to compare", MODES, (mode) => wishes.mode(mode)),
    zooms: group("Magnification", ZOOMS, (zoom) => wishes.zoom(zoom)),
    choice: el("div", { class: "group choice", role: "group", "aria-label": "Compared picture" }),
    full: button("full", "Full screen", () => wishes.full()),
    ...stage(wishes),
    ...player(wishes),
    said: el("p", { class: "said", role: "status" }),
    facts: el("div", { class: "facts", role: "group", "aria-label": "Facts", tabindex: "0", hidden: true }), // it scrolls
  };
  const keys = el("details", { class: "keys" }, el("summary", {}, "Keys"), keyList());
  const foot = el("div", { class: "foot" }, parts.said, keys);
  const bar = el("div", { class: "bar" }, parts.modes, parts.choice, parts.zooms, parts.full);
  parts.root = el("div", { class: "view" }, bar, parts.frame, parts.player, foot, parts.facts);
  return parts;
}

/**
 * Return one button for each item: A, B, C and what it is called.
 * @param {{label: string}[]} items what is compared.
 * @param {function(number): void} choose is told the place.
 */
export function choices(items, choose) {
  return items.map((item, place) => {
    const name = el("b", {}, letter(place));
    const title = `${item.label} (key ${place + 1})`;
    return el("button", { type: "button", title, onclick: () => choose(place) }, name, ` ${item.label}`);
  });
}

/**
 * Return a table of facts: a row for each fact that any item has, a column for each item.
 * @param {{label: string, facts: Object<string, *>}[]} items what is compared.
 */
export function factTable(items) {
  const named = items.map((item) => Object.keys(item.facts ?? {}));
  const names = [...new Set(named.toSorted((one, other) => other.length - one.length).flat())]; // of the fullest: in order
  if (!names.length) return null;
  const head = items.map((item) => el("th", { scope: "col" }, item.label));
  const rows = names.map((name) => {
    const cells = items.map((item) => el("td", {}, String(item.facts?.[name] ?? "–")));
    return el("tr", {}, el("th", { scope: "row" }, name), ...cells);
  });
  const top = el("thead", {}, el("tr", {}, el("td"), ...head));
  return el("table", {}, top, el("tbody", {}, ...rows));
}

function group(label, choicesOf, choose) {
  const buttons = choicesOf.map(([value, text, title]) =>
    el("button", { type: "button", "data-value": value, title, onclick: () => choose(value) }, text),
  );
  return el("div", { class: "group", role: "group", "aria-label": label }, ...buttons);
}

function button(sign, label, act) {
  return el("button", { type: "button", class: "sign", title: label, "aria-label": label, onclick: act }, drawn(sign));
}

function stage(wishes) {
  // The slider comes before the line, so that the line can show its focus; pointers meet the line, keys the slider.
  const wipe = el("input", {
    type: "range", class: "wipe", min: "0", max: "100", step: "1", "aria-label": "Place of the line",
    oninput: (event) => wishes.position(Number(event.target.value)),
  });
  const line = el("div", { class: "line", "aria-hidden": "true" }, el("div", { class: "grip" }, drawn("grip")));
  const held = el("button", { type: "button", class: "held" });
  const pan = el("div", { class: "stage", tabindex: "0", role: "group" }, wipe, line);
  return { frame: el("div", { class: "frame" }, pan, held), stage: pan, wipe, line, held };
}

function player(wishes) {
  const play = button("play", "Play", () => wishes.play());
  const back = button("back", "One frame back (key ,)", () => wishes.step(-1));
  const forward = button("forward", "One frame on (key .)", () => wishes.step(1));
  const loop = button("loop", "Begin again at the end", () => wishes.loop());
  const scrub = el("input", {
    type: "range", class: "scrub", min: "0", "aria-label": "Frame",
    oninput: (event) => wishes.scrub(Number(event.target.value)),
  });
  // Not <output>: that is a live region, which would speak at every frame. The slider tells the place to who cannot see.
  const frame = el("span", { class: "number", "aria-hidden": "true" });
  const row = el("div", { class: "player", role: "group", "aria-label": "Player", hidden: true });
  row.append(play, back, forward, scrub, frame, loop);
  return { player: row, play, back, forward, loop, scrub, number: frame };
}

function keyList() {
  const keys = [
    ["← →", "move the line, or the magnified picture"],
    ["↑ ↓", "move the magnified picture"],
    ["+ − 0", "magnify more, less, fit"],
    ["1 … 9", "choose a picture"],
    ["Space", "hold: see the first one; else play and pause"],
    [", .", "one frame back, one on"],
    ["f", "full screen"],
  ];
  const rows = keys.flatMap(([key, does]) => [el("dt", {}, el("kbd", {}, key)), el("dd", {}, does)]);
  return el("dl", {}, ...rows);
}

// Asks for the models until they are told, and puts them in the one order in which every list of the page has them.

import { askJson } from "./api.js";
import { el } from "./dom.js";
import { rounded } from "./words.js";

const SHORTEST_WAIT_MS = 1000;
const LONGEST_WAIT_MS = 15_000;

/** Ask for the models until `signal` ends it; null where it ended, or where a key is needed that nobody gave. */
export async function modelsOnceTold(signal) {
  for (let wait = SHORTEST_WAIT_MS; !signal.aborted; wait = Math.min(2 * wait, LONGEST_WAIT_MS)) {
    try {
      const asksForKey = wait === SHORTEST_WAIT_MS; // a repetition is the page's own idea
      return (await askJson("/v1/models", { signal, asksForKey })).models;
    } catch (problem) {
      if (problem.status === 401) return null;
    }
    await new Promise((resolve) => setTimeout(resolve, wait));
  }
  return null;
}

/** Return the networks, the fastest here first, and what enlarges without one. */
export function sorted(models) {
  const speed = (one) => one.seconds_per_megapixel ?? Number.MAX_VALUE;
  const inOrder = [...models].sort((a, b) => speed(a) - speed(b));
  const isPlain = (one) => one.engine === one.name; // it runs by itself: there is no network that an engine would run
  return { networks: inOrder.filter((one) => !isPlain(one)), plain: inOrder.filter(isPlain) };
}

/** Return rows for all models in that order, those without a network under a heading of their own. */
export function modelRows(models, rowOf, className) {
  const { networks, plain } = sorted(models);
  const rows = plain.map(rowOf);
  if (!rows.length) return networks.map(rowOf);
  const words = "Plain enlargement, without a network";
  const group = el(
    "div",
    { class: "plain stack stack--tight", role: "group", "aria-label": words },
    el("p", { class: "note", "aria-hidden": "true" }, words),
    el("div", { class: className }, rows),
  );
  return [...networks.map(rowOf), group];
}

/** Return what is worth knowing of a model before choosing it. */
export function modelFacts(model) {
  const [speed] = Object.entries(model.frames_per_second ?? {});
  const measured = speed
    ? `about ${speed[1].toFixed(speed[1] < 10 ? 1 : 0)} fps here at ${speed[0].replace("x", " × ")}`
    : model.seconds_per_megapixel
      ? `${rounded(1 / model.seconds_per_megapixel)} Mpx a second here`
      : "speed not measured here yet";
  return [measured, model.scales.map((scale) => `×${scale}`).join(" "), model.licence].filter(Boolean);
}

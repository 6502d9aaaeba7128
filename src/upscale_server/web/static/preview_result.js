// Shows a finished preview: every side in step in the compare view, and what was measured and is to be known of it.

import { blobUrl } from "./api.js";
import "./compare.js";
import { byId, el, say, show } from "./dom.js";
import { sentence } from "./fault.js";
import { qualityFacts, scales } from "./quality_words.js";
import { bytes, duration, rounded } from "./words.js";

let shown = []; // addresses to let go of

/** Fetch the films of a preview and show them; `signal` ends it. */
export async function showPreview(view, signal) {
  const all = [view.before, ...view.items.filter((item) => item.url)].filter(Boolean);
  const { sides, urls, lost } = await fetched(all, signal);
  hidePreview();
  shown = urls;
  const stage = byId("preview-view");
  stage.frameTimes = view.frame_times;
  stage.items = sides.map((side, place) => compared(side, urls[place], view));
  say(byId("preview-verdict"), verdict(view));
  byId("preview-said").replaceChildren(...lost.map(lostNotice), ...notices(view));
  show(byId("preview-result"));
}

/** Fetch all films; those that did not come do not take the others away, where there is any to show. */
async function fetched(all, signal) {
  const found = await Promise.allSettled(all.map((side) => blobUrl(side.url, signal)));
  const came = found.map((one) => one.status === "fulfilled");
  const urls = found.filter((_, place) => came[place]).map((one) => one.value);
  const first = found.find((one) => one.status === "rejected");
  const isEmpty = first && !all.some((side, place) => came[place] && side.model);
  if (signal.aborted || isEmpty) {
    for (const url of urls) URL.revokeObjectURL(url);
    signal.throwIfAborted();
    throw first.reason;
  }
  const lost = all.map((side, place) => ({ side, problem: found[place].reason })).filter((one) => one.problem);
  return { sides: all.filter((_, place) => came[place]), urls, lost };
}

function lostNotice({ side, problem }) {
  const words = `${side.model ?? "Before"} did not arrive: ${problem.message}`;
  return el("li", { class: "notice notice--bad note" }, sentence(words));
}

/** Take it away and let go of its films. */
export function hidePreview() {
  show(byId("preview-result"), false);
  byId("preview-view").items = [];
  for (const url of shown) URL.revokeObjectURL(url);
  shown = [];
}

function compared(side, url, view) {
  const isBefore = side === view.before;
  return {
    name: isBefore ? "before" : side.model,
    label: isBefore ? "Before (bicubic)" : side.model,
    kind: "video",
    blobUrl: url,
    facts: facts(side, view.crop),
  };
}

/** Return what is told of a side; a line that no side has stays out of the table. A part's speed is not the whole's. */
function facts({ fps, seconds, byte_count: size, quality }, crop) {
  const known = {};
  if (seconds && !crop) known.Speed = fps ? `${rounded(fps)} fps once loaded` : "too short to tell";
  if (seconds) known.Time = `${duration(seconds)} with loading`;
  if (size) known.Size = bytes(size);
  return { ...known, ...qualityFacts(quality) };
}

function verdict(view) {
  const parts = [`${duration(lengthOf(view))} at ${view.width} × ${view.height}.`];
  if (view.crop) parts.push("The result is larger than browsers play: its middle is shown, pixel for pixel.");
  if (view.best_because) parts.push(sentence(view.best_because));
  if (view.items.some((item) => Object.keys(qualityFacts(item.quality)).length)) parts.push(sentence(scales()));
  return parts.join(" ");
}

/** Return how long it is: the last frame lasts as long as the one before it. A short video gives less than was asked. */
function lengthOf({ frame_times: times, seconds }) {
  if (!(times?.length > 1)) return seconds;
  return 2 * times.at(-1) - times.at(-2) - times[0];
}

function notices(view) {
  const failed = view.items.filter((item) => item.fault);
  return [
    ...failed.map((item) => el("li", { class: "notice notice--bad note" }, sentence(`${item.model}: ${item.fault.detail}`))),
    ...view.items
      .filter((item) => item.quality_fault)
      .map((item) => el("li", { class: "notice notice--warning note" }, sentence(`${item.model}: ${item.quality_fault.detail}`))),
    ...view.warnings.map((one) => el("li", { class: "notice notice--warning note" }, sentence(one.detail))),
  ];
}

// Builds what <growing-player> is made of, and words what it says. It decides nothing.

import { el } from "./dom.js";

const ENDED = ["succeeded", "failed", "canceled"];
const SMALL = "a small copy without sound";

/** Tell whether a job will bring nothing more. */
export const isOver = (job) => ENDED.includes(job?.state);

/**
 * Build everything.
 * @param {{placed: function, skip: function, newest: function}} wishes what is told and asked for.
 * @returns {Object<string, HTMLElement>} the parts that change.
 */
export function build({ placed, skip: onSkip, newest: onNewest }) {
  const video = el("video", { controls: true, playsinline: true, preload: "metadata", "aria-label": "Result" });
  const message = el("p", { class: "message", role: "status" });
  const skip = el("button", { type: "button", hidden: true, onclick: onSkip }, "Go to what is there");
  const pieces = el("div", { class: "pieces", role: "img" });
  const newest = el("button", { type: "button", onclick: onNewest }, "Newest");
  const words = el("p", { class: "words" });
  const cover = el("div", { class: "cover" }, message, skip);
  for (const name of ["waiting", "seeking", "timeupdate", "loadeddata", "playing"]) video.addEventListener(name, placed);
  const screen = el("div", { class: "screen" }, video, cover);
  const root = el("div", { class: "player" }, screen, pieces, el("div", { class: "row" }, words, newest));
  return { root, video, cover, message, skip, pieces, newest, words };
}

/** Draw which stretches of the whole are finished. */
export function drawPieces(bar, list, { duration_seconds: whole, total }) {
  bar.setAttribute("aria-label", `${list.length} of ${total} pieces are finished`);
  while (bar.children.length > list.length) bar.lastChild.remove();
  while (bar.children.length < list.length) bar.append(el("span", {}));
  list.forEach((one, place) => {
    const { style } = bar.children[place];
    style.insetInlineStart = `${(one.start_seconds / whole) * 100}%`;
    style.width = `${(one.seconds / whole) * 100}%`;
  });
}

/** What stands in the place of a picture while there is none; `why` says why the result itself is not shown. */
export function emptyWords(job, why, canGrow) {
  if (!job) return "";
  if (!isOver(job) && !canGrow) return "This browser cannot play a video that is still being made. Its result will be here.";
  if (!isOver(job)) return "Nothing is finished yet. The first piece plays here as soon as it is.";
  if (job.state !== "succeeded") return "There is nothing to see of this job.";
  return why ? `${why}, and there is no small copy of it. Download it to look at it.` : "Opening the result…";
}

/** What is said of a place that nothing is there for. */
export function gapWords(job, seconds) {
  const place = `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;
  return isOver(job) ? `There is no small copy of ${place}.` : `${place} is not finished yet. It is shown as soon as it is.`;
}

/** What is said below the small copies. */
export function copyWords(job, why, { count, total }) {
  if (job.state === "succeeded") return why ? `${why}: this is ${SMALL}. The download is the real one.` : "";
  if (isOver(job)) return `What was finished before the job ended, as ${SMALL}.`;
  return `${count} of ${total ?? "?"} pieces are finished; this is ${SMALL}.`;
}

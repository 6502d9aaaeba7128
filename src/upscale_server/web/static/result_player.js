// Plays a result where the browser can, and its small copies where it cannot or while it is still being made; it says
// which of both is seen, and is never merely black.

import { askJson } from "./api.js";
import { el, say, show } from "./dom.js";
import { nameOf } from "./words.js";

const TYPES = {
  hevc: 'video/mp4; codecs="hvc1.1.6.L153.B0"',
  h264: 'video/mp4; codecs="avc1.640033"',
  av1: 'video/mp4; codecs="av01.0.13M.08"',
};

/** Return the player in a place. */
export function resultPlayer(place) {
  const words = el("p", { class: "note" });
  const frame = el("div", { class: "player" });
  let shown = "";
  place.replaceChildren(frame, words);

  return {
    show(job) {
      const kind = job.state === "succeeded" && playsItself(job) ? "whole" : "copies";
      if (shown === kind + job.id) return;
      shown = kind + job.id;
      if (kind === "whole") whole(frame, words, job);
    },
    hide() {
      shown = "";
      frame.replaceChildren();
    },
  };
}

/** Tell whether the browser plays this codec, and the address is one that the page may load. */
function playsItself(job) {
  const type = TYPES[job.asked.codec ?? "hevc"];
  const isOurs = new URL(job.result.url, location.href).origin === location.origin && !job.result.url.includes("/v1/jobs/");
  return isOurs && document.createElement("video").canPlayType(type) !== "";
}

function whole(frame, words, job) {
  const film = el("video", { controls: true, playsinline: true, preload: "metadata", src: job.result.url });
  film.setAttribute("aria-label", `Result: ${nameOf(job)}`);
  frame.replaceChildren(film);
  say(words, "");
  show(words, false);
}

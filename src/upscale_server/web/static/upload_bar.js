// Shows how far an upload or a fetch is, and lets it be stopped.

import { byId, say, show } from "./dom.js";
import { bytes, duration } from "./words.js";

/** A rate over less than this is a guess. */
const LEAST_MS = 800;

/** Return what shows the way of a file to the server. */
export function uploadBar() {
  const box = byId("upload");
  const bar = byId("upload-bar");
  let began = 0;
  let stop = null;
  byId("upload-stop").addEventListener("click", () => stop?.abort());

  return {
    /** Begin; the returned signal ends with the button. */
    begin(name, words) {
      stop = new AbortController();
      began = performance.now();
      say(byId("upload-name"), name);
      say(byId("upload-words"), words);
      bar.removeAttribute("aria-valuenow");
      bar.style.setProperty("--done", "0");
      show(box);
      window.addEventListener("beforeunload", keepHere);
      return stop.signal;
    },
    /** Tell how much has arrived. */
    progress(done, total) {
      const part = total ? done / total : 0;
      bar.style.setProperty("--done", String(part));
      bar.setAttribute("aria-valuenow", String(Math.round(100 * part)));
      say(byId("upload-words"), words(done, total, performance.now() - began));
    },
    /** Take it away. */
    end() {
      stop = null;
      window.removeEventListener("beforeunload", keepHere);
      show(box, false);
    },
  };
}

/** Let the browser ask before a half-sent file is thrown away. */
function keepHere(event) {
  event.preventDefault();
}

function words(done, total, elapsed) {
  if (done >= total) return "Looking into it…";
  const left = elapsed > LEAST_MS && done ? `, about ${duration(((total - done) / done) * (elapsed / 1000))} left` : "";
  return `${bytes(done)} of ${bytes(total)}${left}`;
}

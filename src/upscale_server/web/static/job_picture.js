// The newest picture of a job, and how much of it can be watched: asked for while its row is in sight, and not oftener
// than it is worth. What is shown of it, the row decides.

import { ask, askJson } from "./api.js";
import { whenSeen } from "./seen.js";

/** The picture is asked for again so often while a job runs. */
const LOOK_MS = 4000;
const FINISHED = ["succeeded", "failed", "canceled"];

/**
 * Return what looks after a row's picture.
 * @param {HTMLElement} row must be in sight.
 * @param {{onPieces: function(number): void, onPicture: function(string): void}} told how many finished pieces there
 *   are, and the address of a new picture; it is let go of here.
 */
export function jobPicture(row, told) {
  const over = new AbortController();
  const { signal } = over;
  let job = null;
  let isInSight = false;
  let looked = Number.NEGATIVE_INFINITY;
  let settled = ""; // the state in which it was looked at last; of one that has ended nothing more comes
  let url = "";

  whenSeen(row, (isNow) => {
    isInSight = isNow;
    look();
  }, signal);
  document.addEventListener("visibilitychange", look, { signal }); // what came while nobody saw the tab

  function isDue() {
    if (!job || !isInSight || document.hidden || signal.aborted) return false;
    if (job.state === "queued" && !job.progress.frames_done) return false;
    const isStill = FINISHED.includes(job.state) || job.state === "paused";
    return isStill ? settled !== job.state : performance.now() - looked > LOOK_MS;
  }

  async function look() {
    if (!isDue()) return;
    looked = performance.now();
    const before = settled;
    settled = job.state; // while it is asked, nobody asks again
    try {
      await fetched(job.id);
    } catch {
      settled = before; // the next word of the job is the next try; the row says all that matters in words
    }
  }

  async function fetched(id) {
    const { segments } = await askJson(`/v1/jobs/${id}/segments`, { signal });
    told.onPieces(segments.length);
    if (!segments.length) return; // there is no picture before the first piece is done
    const reply = await ask(`/v1/jobs/${id}/thumbnail.jpg`, { signal });
    const picture = await reply.blob();
    if (signal.aborted) return;
    if (url) URL.revokeObjectURL(url);
    url = URL.createObjectURL(picture);
    told.onPicture(url);
  }

  return {
    /** Hear how the job is now. */
    hear(news) {
      job = news;
      look();
    },
    /** Ask no more, and let the picture go. */
    close() {
      over.abort();
      if (url) URL.revokeObjectURL(url);
      url = "";
    },
  };
}

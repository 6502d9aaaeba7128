// Says aloud what a person who does not look wants to know of a job: begun, each quarter, and its end. Nothing else.

import { byId, say } from "./dom.js";
import { nameOf } from "./words.js";

const ENDS = { succeeded: "is finished", failed: "has failed", canceled: "is canceled", paused: "is paused" };

/** Return what is told every news of every job. */
export function announcer() {
  const said = new Map();
  return (job) => {
    const words = milestone(job);
    if (!words || said.get(job.id) === words) return;
    said.set(job.id, words);
    say(byId("spoken"), `${nameOf(job)} ${words}`);
  };
}

function milestone(job) {
  if (job.state in ENDS) return ENDS[job.state];
  const { frames_done: done, frames_total: total, phase } = job.progress;
  if (job.state !== "running" || phase !== "upscale" || !total) return "";
  const quarter = Math.floor((4 * done) / total);
  return quarter > 0 && quarter < 4 ? `is ${25 * quarter} % upscaled` : quarter === 0 ? "has begun" : "";
}

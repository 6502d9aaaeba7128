// Remembers with what a job of this tab was handed in, so that it can be handed in again. It asks no server.

import { keep, kept } from "./session.js";

const WITH = "body-of-";

/** Keep what a job was asked with. */
export function keepBody(jobId, body) {
  keep(WITH + jobId, JSON.stringify(body));
}

/** Return what a job was asked with, null where this tab did not start it. */
export function bodyOf(jobId) {
  return JSON.parse(kept(WITH + jobId) ?? "null");
}

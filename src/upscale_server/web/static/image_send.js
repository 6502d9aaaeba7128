// Sends a picture and brings its enlargement back, with how far it is: fetch cannot tell that of what it sends.

import { Problem, ask, keyHeaders, silence } from "./api.js";

/** A server that is full or still loading is asked again so often; each time after as long as it said. */
const MOST_TRIES = 60;
const PAUSE_SECONDS = 5;

/**
 * What came back.
 * @typedef {{blob: Blob, size: string, model: string, warnings: string[], seconds: number|null}} Enlarged
 * `seconds` is what the server needed for it, without the way and without waiting.
 */

/**
 * Enlarge a picture.
 * @param {File} file the picture.
 * @param {Object<string, string>} words what is asked: `upscale`, `format`, …
 * @param {{onProgress: function(number): void, onWait: function(number): void, signal: AbortSignal}} told
 *   how much has been sent, 0 to 1; that the server is full, and after how many seconds it is asked again.
 * @returns {Promise<Enlarged>}
 */
export async function enlarge(file, words, told) {
  let hasKey = false;
  for (let tries = 1; ; tries += 1) {
    try {
      return await sent(file, words, told);
    } catch (problem) {
      if (problem.status === 401 && !hasKey) {
        await ask("/info", { signal: told.signal }); // asks the person for the key
        hasKey = true;
      } else if ([429, 503].includes(problem.status) && problem.retryable && tries < MOST_TRIES) {
        const seconds = problem.retryAfter ?? PAUSE_SECONDS;
        told.onWait(seconds);
        await pause(seconds, told.signal);
      } else {
        throw problem;
      }
    }
  }
}

function sent(file, words, { onProgress, signal }) {
  return new Promise((resolve, reject) => {
    signal.throwIfAborted();
    const form = new FormData();
    form.append("file", file, file.name || "picture.png");
    const request = new XMLHttpRequest();
    const stop = () => request.abort();
    signal.addEventListener("abort", stop, { once: true });
    request.responseType = "blob";
    request.upload.addEventListener("progress", (event) => onProgress(event.total ? event.loaded / event.total : 0));
    request.upload.addEventListener("load", () => onProgress(1));
    request.addEventListener("load", () => settle(request, resolve, reject));
    request.addEventListener("error", () => reject(silence()));
    request.addEventListener("abort", () => reject(new DOMException("stopped", "AbortError")));
    request.addEventListener("loadend", () => signal.removeEventListener("abort", stop));
    request.open("POST", `/upscale?${new URLSearchParams(words)}`);
    for (const [name, value] of Object.entries(keyHeaders())) request.setRequestHeader(name, value);
    request.send(form);
  });
}

async function settle(request, resolve, reject) {
  if (request.status !== 200) {
    reject(await problemIn(request));
    return;
  }
  const said = request.getResponseHeader("X-Warnings");
  resolve({
    blob: request.response,
    size: request.getResponseHeader("X-Output-Size") ?? "",
    model: request.getResponseHeader("X-Model") ?? "",
    warnings: said ? said.split(", ") : [],
    seconds: secondsIn(request.getResponseHeader("Server-Timing") ?? ""),
  });
}

function secondsIn(timing) {
  const parts = [...timing.matchAll(/dur=([\d.]+)/g)].map((found) => Number(found[1]));
  return parts.length ? parts.reduce((sum, one) => sum + one, 0) / 1000 : null;
}

async function problemIn(request) {
  const { status } = request;
  const retryAfter = Number(request.getResponseHeader("Retry-After")) || null;
  try {
    const said = JSON.parse(await request.response.text());
    if (said.detail) return new Problem({ retry_after: retryAfter, ...said, status });
  } catch {
    // no JSON: a proxy's page
  }
  return new Problem({ detail: `the server answered with status ${status} and no explanation`, status });
}

function pause(seconds, signal) {
  return new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer);
      reject(new DOMException("stopped", "AbortError"));
    };
    const timer = setTimeout(() => {
      signal.removeEventListener("abort", stop);
      resolve();
    }, seconds * 1000);
    signal.addEventListener("abort", stop, { once: true });
  });
}

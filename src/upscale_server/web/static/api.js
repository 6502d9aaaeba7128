// Asks the server: with the key where one is needed, and with every failure as one kind of error, in words.

import { forget, keep, kept } from "./session.js";

const KEY = "key";
let askForKey = null;
let asking = null;
let declined = 0; // how often a person has said "Later"
let memory = ""; // for a browser that keeps nothing

/** A failure as a person can read it: `message` says what happened, `hint` what to do. `status` 0: nobody answered. */
export class Problem extends Error {
  constructor(said) {
    super(said.detail || said.title || "something went wrong");
    this.title = said.title || "That did not work";
    this.hint = said.hint || "";
    this.code = said.code || "";
    this.status = said.status || 0;
    this.retryable = Boolean(said.retryable);
    this.requestId = said.request_id || "";
    this.retryAfter = said.retry_after ?? null;
  }
}

/** The failure of a server that does not answer. */
export function silence() {
  return new Problem({
    title: "The server does not answer",
    detail: "there is no connection to the server",
    hint: "Nothing is lost: this page tries again by itself, and jobs that were started go on.",
    code: "offline",
    retryable: true,
  });
}

/** Return the headers that show the key, none where none is known. */
export function keyHeaders() {
  const key = keptKey();
  return key ? { Authorization: `Bearer ${key}` } : {};
}

/** Say how a person is asked for a key: a function that resolves when one has been given. */
export function onKeyNeeded(ask) {
  askForKey = ask;
}

/** Keep a key for as long as this tab is open; an empty one forgets it. */
export function keepKey(key) {
  memory = key;
  if (key) keep(KEY, key);
  else forget(KEY);
}

function keptKey() {
  return memory || kept(KEY) || "";
}

/**
 * Ask and return the reply where it is a success. Throws a `Problem`, or an `AbortError` where `signal` ends it.
 * `asksForKey: false` is for what the page asks by itself, again and again: nobody wants a dialog for that.
 */
export async function ask(path, { asksForKey = true, ...options } = {}) {
  for (;;) {
    const key = keptKey();
    const before = declined;
    const reply = await answered(path, options);
    if (reply.ok) return reply;
    const problem = await problemOf(reply);
    const isRefused = problem.status === 401;
    if (isRefused && key !== keptKey()) continue; // one was given meanwhile
    const isLate = before !== declined; // "Later" was said meanwhile: the dialog would come back the moment after
    if (!isRefused || !asksForKey || isLate || !(await keyGiven(problem))) throw problem;
  }
}

/** Ask and return the JSON of the reply, null where it has none. */
export async function askJson(path, options = {}) {
  const reply = await ask(path, options);
  return reply.status === 204 ? null : reply.json();
}

/** Send JSON and return the JSON of the reply. */
export function send(path, body, options = {}) {
  const headers = { "Content-Type": "application/json" };
  return askJson(path, { method: "POST", body: JSON.stringify(body), headers, ...options });
}

/** Fetch a picture or film that only a key opens, as an address that <img> and <video> can show; revoke it later. */
export async function blobUrl(path, signal) {
  const reply = await ask(path, { signal });
  return URL.createObjectURL(await reply.blob());
}

/** Send a file as the body and tell how far it is; fetch cannot tell that, so this is the older way of asking. */
export async function upload(path, file, { onProgress, signal }) {
  await ask("/queue", { signal }); // a key that is missing or wrong is told before a long file is sent, not after
  const attempt = () =>
    new Promise((resolve, reject) => {
      const request = new XMLHttpRequest();
      const end = () => request.abort();
      signal?.addEventListener("abort", end, { once: true });
      request.upload.addEventListener("progress", (event) => onProgress(event.loaded, event.total || file.size));
      request.addEventListener("load", () => settle(request, resolve, reject));
      request.addEventListener("error", () => reject(silence()));
      request.addEventListener("abort", () => reject(new DOMException("stopped", "AbortError")));
      request.addEventListener("loadend", () => signal?.removeEventListener("abort", end));
      request.open("POST", path);
      request.setRequestHeader("Content-Type", "application/octet-stream");
      for (const [name, value] of Object.entries(keyHeaders())) request.setRequestHeader(name, value);
      request.send(file);
    });
  for (;;) {
    try {
      return await attempt();
    } catch (problem) {
      if (problem.status !== 401 || !(await keyGiven(problem))) throw problem;
    }
  }
}

function settle(request, resolve, reject) {
  let said = null;
  try {
    said = JSON.parse(request.responseText);
  } catch {
    // what is no JSON is not ours: a proxy's page
  }
  if (request.status >= 200 && request.status < 300 && said) resolve(said);
  else reject(new Problem(said?.detail ? said : withoutWords(request.status)));
}

async function answered(path, { headers = {}, ...options }) {
  try {
    return await fetch(path, { cache: "no-store", ...options, headers: { ...headers, ...keyHeaders() } });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw silence();
  }
}

/** Return the failure that a reply tells. */
export async function problemOf(reply) {
  try {
    const said = await reply.json();
    if (said.detail) return new Problem({ ...said, status: reply.status });
  } catch {
    // as above
  }
  return new Problem(withoutWords(reply.status));
}

function withoutWords(status) {
  return {
    title: "That did not work",
    detail: `the server answered with status ${status} and no explanation`,
    hint: "If something stands between this page and the server, such as a proxy, its log may say more.",
    status,
    retryable: status >= 500,
  };
}

/** Ask a person once, however many questions were refused at the same time. */
async function keyGiven(problem) {
  if (!askForKey) return false;
  asking ??= askForKey(problem)
    .then((given) => {
      declined += given ? 0 : 1;
      return given;
    })
    .finally(() => {
      asking = null;
    });
  return asking;
}

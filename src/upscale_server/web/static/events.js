// Reads server-sent events with fetch, because an EventSource cannot send a key; it comes back by itself, where it was.

import { ask } from "./api.js";

/** Longest silence of a living stream; the server's heart beats every ten seconds. */
const SILENCE_MS = 30_000;
/** A browser has six connections for a server, over all its tabs: one that nobody sees for so long lets its own go. */
const UNSEEN_MS = 120_000;
const SHORTEST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 10_000;

/**
 * Follow a stream until the returned function is called.
 * @param {string} path of the stream.
 * @param {{onEvent: function(string, object): void, onState: function("open"|"lost"|"locked", Error=): void}} told
 */
export function follow(path, told) {
  const stopped = new AbortController();
  run(path, told, stopped.signal);
  return () => stopped.abort();
}

async function run(path, told, stopped) {
  const place = { lastId: "" };
  let wait = SHORTEST_WAIT_MS;
  while (!stopped.aborted) {
    try {
      await readOnce(path, told, place, stopped);
      wait = SHORTEST_WAIT_MS;
    } catch (problem) {
      if (stopped.aborted) return;
      if (problem.name === "AbortError" && document.hidden) {
        await seen(stopped); // it was let go on purpose
        continue;
      }
      told.onState(problem.status === 401 ? "locked" : "lost", problem);
      if (problem.status === 401) await keyGiven(stopped);
      else wait = Math.min(wait * 2, LONGEST_WAIT_MS);
    }
    await pause(wait, stopped);
  }
}

async function readOnce(path, told, place, stopped) {
  const attempt = new AbortController();
  const end = () => attempt.abort();
  stopped.addEventListener("abort", end, { once: true });
  let watch = setTimeout(end, SILENCE_MS);
  const unseen = whenUnseen(end);
  try {
    const headers = { Accept: "text/event-stream", ...(place.lastId && { "Last-Event-ID": place.lastId }) };
    const reply = await ask(path, { headers, signal: attempt.signal });
    told.onState("open");
    const parser = new Parser((event) => {
      if (event.id) place.lastId = event.id;
      told.onEvent(event.name, event.data ? JSON.parse(event.data) : null);
    });
    const reader = reply.body.pipeThrough(new TextDecoderStream()).getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      clearTimeout(watch);
      watch = setTimeout(end, SILENCE_MS);
      parser.take(value);
    }
  } finally {
    clearTimeout(watch);
    unseen.stop();
    stopped.removeEventListener("abort", end);
  }
}

/** Cuts a stream into events (WHATWG HTML, 9.2.6); what is cut in the middle waits for the rest. */
export class Parser {
  #rest = "";
  #lines = [];
  #tell;

  constructor(tell) {
    this.#tell = tell;
  }

  take(text) {
    const lines = (this.#rest + text).split(/\r\n|\n/);
    this.#rest = lines.pop();
    for (const line of lines) {
      if (line) this.#lines.push(line);
      else this.#end();
    }
  }

  #end() {
    const event = { name: "message", id: "", data: "" };
    const data = [];
    for (const line of this.#lines) {
      const [field, ...rest] = line.split(":");
      const value = rest.join(":").replace(/^ /, "");
      if (field === "event") event.name = value;
      else if (field === "id") event.id = value;
      else if (field === "data") data.push(value);
    }
    this.#lines = [];
    event.data = data.join("\n");
    if (event.data) this.#tell(event);
  }
}

/** Call `end` when nobody has seen the page for long. */
function whenUnseen(end) {
  let timer = 0;
  const look = () => {
    clearTimeout(timer);
    if (document.hidden) timer = setTimeout(end, UNSEEN_MS);
  };
  document.addEventListener("visibilitychange", look);
  look();
  return {
    stop() {
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", look);
    },
  };
}

/** Wait until somebody sees the page. */
function seen(stopped) {
  return until(stopped, (resolve, signal) => {
    const look = () => !document.hidden && resolve();
    document.addEventListener("visibilitychange", look, { signal });
    look();
  });
}

function pause(milliseconds, stopped) {
  return until(stopped, (resolve, signal) => {
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener("abort", () => clearTimeout(timer));
    window.addEventListener("online", resolve, { signal });
  });
}

function keyGiven(stopped) {
  return until(stopped, (resolve, signal) => window.addEventListener("upscale-key", resolve, { signal }));
}

/** Wait for what `begin` waits for, or for the end; nobody listens any more then, however often it is waited. */
function until(stopped, begin) {
  return new Promise((resolve) => {
    const over = new AbortController();
    const end = () => {
      stopped.removeEventListener("abort", end);
      over.abort();
      resolve();
    };
    stopped.addEventListener("abort", end);
    begin(end, over.signal);
  });
}

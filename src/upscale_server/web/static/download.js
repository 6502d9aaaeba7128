// Fetches a result that only the key opens and keeps it: straight to the disk where the browser can, else by way of memory
// up to a bound. What opens by its link alone needs none of this.

import { Problem, ask } from "./api.js";
import { sentence } from "./fault.js";
import { bytes } from "./words.js";

/** A browser that cannot write to the disk holds all of it, twice for a moment. */
const MOST_IN_MEMORY = 512 * 2 ** 20;
/** How long a browser may still hold a file whose writing has failed, in steps after which it is asked again. */
const HELD_MS = [0, 50, 200, 800];

/**
 * Fetch a file and keep it under a name.
 * @param {{path: string, name: string, size: number}} file where it is, what it is to be called, how large it is.
 * @param {{signal: AbortSignal, onProgress: function(number): void}} told ends it; hears how much of it has come, 0 to 1.
 */
export async function keepFile(file, { signal, onProgress }) {
  if (window.showSaveFilePicker) return toDisk(file, { signal, onProgress });
  if (file.size > MOST_IN_MEMORY) throw tooLarge(file);
  try {
    return await byMemory(file, { signal, onProgress });
  } catch (problem) {
    throw inWords(problem);
  }
}

async function byMemory(file, { signal, onProgress }) {
  const { body } = await ask(file.path, { signal });
  const kept = await new Response(body.pipeThrough(counted(file.size, onProgress))).blob();
  const url = URL.createObjectURL(kept);
  const link = document.createElement("a");
  link.href = url;
  link.download = file.name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000); // a browser tells nobody when it has taken it
}

/**
 * The person chooses the place first: a browser lets nobody ask for it long after a press. The browser makes the file
 * then, and empties one that was there, so that a failure is no reason to leave it, and has to say so.
 */
async function toDisk(file, { signal, onProgress }) {
  const place = await window.showSaveFilePicker({ suggestedName: file.name });
  try {
    const { body } = await ask(file.path, { signal });
    const written = await place.createWritable();
    await body.pipeThrough(counted(file.size, onProgress)).pipeTo(written, { signal });
  } catch (problem) {
    throw withoutFile(inWords(problem), place.name, await isRemoved(place));
  }
}

/** Remove a file and tell whether it is gone: where writing has failed, a browser lets go of it a moment later. */
async function isRemoved(place) {
  for (const wait of HELD_MS) {
    await new Promise((go) => setTimeout(go, wait));
    try {
      await place.remove();
      return true;
    } catch (problem) {
      if (problem.name !== "NoModificationAllowedError") return false; // also where a browser cannot remove
    }
  }
  return false;
}

/** Return a failure as one in words: a browser's own name neither what happened nor what helps. */
function inWords(problem) {
  if (problem instanceof Problem || problem.name === "AbortError") return problem;
  const isCut = problem instanceof TypeError; // what a stream from the network breaks with, in every browser
  return new Problem({
    title: isCut ? "The download was cut off" : "The result cannot be saved",
    detail: isCut ? "the connection to the server broke before all of the result was here" : problem.message,
    hint: "The result is still on the server: press Download again.",
  });
}

function withoutFile(problem, name, isRemoved) {
  const isStopped = problem.name === "AbortError";
  const gone = `the file ${name} is ${isRemoved ? "not there any more" : "empty now"}; if it was there before, what was in it is lost.`;
  return new Problem({
    title: isStopped ? "The download was canceled" : problem.title,
    detail: isStopped ? gone : problem.message,
    hint: isStopped ? "" : `${problem.hint} ${sentence(gone)}`.trim(),
  });
}

function counted(size, onProgress) {
  let done = 0;
  return new TransformStream({
    transform(chunk, out) {
      done += chunk.byteLength;
      onProgress(size ? Math.min(1, done / size) : 0);
      out.enqueue(chunk);
    },
  });
}

function tooLarge({ path, name, size }) {
  return new Problem({
    title: "Too large for this browser",
    detail: `the result is ${bytes(size)}, and this browser would hold all of it in memory`,
    hint: `${way()}; or run curl -H "Authorization: Bearer $KEY" -o ${quoted(name)} ${quoted(String(new URL(path, location.href)))} (with your key in $KEY)`,
  });
}

/** A browser lets nobody write to the disk from a page that came over plain http. */
function way() {
  const browser = "a browser that can save while it loads, such as Chrome or Edge";
  return window.isSecureContext ? `Use ${browser}` : `Open this page over https, or by http://localhost on the server's own machine, in ${browser}`;
}

/** Return a text as one word of a shell: a file's name is a stranger's. */
const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

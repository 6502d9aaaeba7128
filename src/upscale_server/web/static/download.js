// Fetches a result that only the key opens and keeps it: straight to the disk where the browser can, else by way of memory
// up to a bound. What opens by its link alone needs none of this.

import { Problem, ask } from "./api.js";
import { bytes } from "./words.js";

/** A browser that cannot write to the disk holds all of it, twice for a moment. */
const MOST_IN_MEMORY = 512 * 2 ** 20;

/**
 * Fetch a file and keep it under a name.
 * @param {{path: string, name: string, size: number}} file where it is, what it is to be called, how large it is.
 * @param {{signal: AbortSignal, onProgress: function(number): void}} told ends it; hears how much of it has come, 0 to 1.
 */
export async function keepFile(file, { signal, onProgress }) {
  if (window.showSaveFilePicker) return toDisk(file, { signal, onProgress });
  if (file.size > MOST_IN_MEMORY) throw tooLarge(file);
  const { body } = await ask(file.path, { signal });
  const kept = await new Response(body.pipeThrough(counted(file.size, onProgress))).blob();
  const url = URL.createObjectURL(kept);
  const link = document.createElement("a");
  link.href = url;
  link.download = file.name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000); // a browser tells nobody when it has taken it
}

/** The person chooses the place first: a browser lets nobody ask for it long after a press. */
async function toDisk(file, { signal, onProgress }) {
  const place = await window.showSaveFilePicker({ suggestedName: file.name });
  const { body } = await ask(file.path, { signal });
  const written = await place.createWritable();
  await body.pipeThrough(counted(file.size, onProgress)).pipeTo(written, { signal }); // on failure nothing is kept
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
    hint: `Use a browser that can save while it loads, such as Chrome or Edge; or run: curl -H "Authorization: Bearer $KEY" -o "${name}" "${new URL(path, location.href)}"`,
  });
}

// Finds out whether this browser can play a job's result itself, and says why not where it cannot. It shows nothing.

import { ask, keyHeaders } from "./api.js";
import { el } from "./dom.js";

const CODECS = {
  hevc: ["HEVC", 'video/mp4; codecs="hvc1.1.6.L153.B0"'],
  h264: ["H.264", 'video/mp4; codecs="avc1.640033"'],
  av1: ["AV1", 'video/mp4; codecs="av01.0.13M.08"'],
};
/** A result that only the key opens is fetched into memory: up to this many bytes. */
const MOST_FETCHED = 256 * 2 ** 20;
/** A browser may wait for a person's press before it fetches anything, and a slow way may never end: milliseconds. */
const MOST_WAITED = 8000;

/**
 * Return an address of the result that this browser has opened, or tell in words why it cannot.
 * @param {object} job as the server tells it, succeeded.
 * @param {AbortSignal} signal ends it.
 * @returns {Promise<{url: string, why: string}>} why not; empty where it can be shown. A blob: address is the caller's.
 */
export async function openResult(job, signal) {
  const [name, type] = CODECS[job.asked?.codec ?? "hevc"] ?? ["this kind of video", ""];
  const cannot = `Your browser cannot play ${name}`;
  const address = new URL(job.result.url, location.href);
  if (address.origin !== location.origin) return not("The result lies on another server, from which this page may not play");
  if (type && !(await plays(type))) return not(cannot);
  let url = address.href;
  if (address.pathname.startsWith("/v1/") && keyHeaders().Authorization) {
    if (job.result.byte_count > MOST_FETCHED) return not("The result needs the key, and is too large to be fetched for playing");
    const reply = await ask(address.pathname, { signal });
    url = URL.createObjectURL(await reply.blob());
  }
  // What a browser says of a codec is a guess about the file: that a picture came is none.
  const found = await tried(url, signal);
  if (found === "picture") return { url, why: "" };
  URL.revokeObjectURL(url); // of another address it is nothing
  signal.throwIfAborted();
  return not(found === "silence" ? "The result did not open in your browser in time" : cannot);
}

const not = (why) => ({ url: "", why });

async function plays(type) {
  if (document.createElement("video").canPlayType(type) === "") return false;
  if (!navigator.mediaCapabilities) return true;
  const video = { contentType: type, width: 1920, height: 1080, bitrate: 8_000_000, framerate: 30 };
  try {
    return (await navigator.mediaCapabilities.decodingInfo({ type: "file", video })).supported;
  } catch {
    return true; // it was asked in words that this browser does not know
  }
}

/** Try an address in a <video> of its own: "picture", "none", or "silence" where nothing came or nobody waits any more. */
async function tried(url, signal) {
  const video = el("video", { preload: "metadata", playsinline: true });
  video.muted = true;
  const found = await new Promise((resolve) => {
    const timer = setTimeout(resolve, MOST_WAITED, "silence");
    const end = (how) => {
      clearTimeout(timer);
      resolve(how);
    };
    // A film whose picture cannot be decoded may still play its sound: that is the black one. Its size is known before
    // its first picture, which some browsers do not fetch before a person presses.
    video.addEventListener("loadedmetadata", () => end(video.videoWidth > 0 ? "picture" : "none"), { once: true });
    video.addEventListener("error", () => end("none"), { once: true });
    signal.addEventListener("abort", () => end("silence"), { once: true });
    if (signal.aborted) end("silence");
    else video.src = url;
  });
  video.removeAttribute("src");
  video.load();
  return found;
}

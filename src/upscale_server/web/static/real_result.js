// Finds out whether this browser can play a job's result itself, and says why not where it cannot. It shows nothing.

import { ask, keyHeaders } from "./api.js";

const CODECS = {
  hevc: ["HEVC", 'video/mp4; codecs="hvc1.1.6.L153.B0"'],
  h264: ["H.264", 'video/mp4; codecs="avc1.640033"'],
  av1: ["AV1", 'video/mp4; codecs="av01.0.13M.08"'],
};
/** A result that only the key opens is fetched into memory: up to this many bytes. */
const MOST_FETCHED = 256 * 2 ** 20;

/**
 * Make a <video> show the result, or tell in words why it cannot.
 * @param {HTMLVideoElement} video which must be empty.
 * @param {object} job as the server tells it, succeeded.
 * @param {AbortSignal} signal ends it.
 * @returns {Promise<string>} why not; empty where it is shown.
 */
export async function showResult(video, job, signal) {
  const [name, type] = CODECS[job.asked?.codec ?? "hevc"] ?? ["this kind of video", ""];
  const cannot = `Your browser cannot play ${name}`;
  const address = new URL(job.result.url, location.href);
  if (address.origin !== location.origin) return "The result lies on another server, from which this page may not play";
  if (type && !(await plays(type))) return cannot;
  let url = address.href;
  if (address.pathname.startsWith("/v1/") && keyHeaders().Authorization) {
    if (job.result.byte_count > MOST_FETCHED) return "The result needs the key, and is too large to be fetched for playing";
    const reply = await ask(address.pathname, { signal });
    url = URL.createObjectURL(await reply.blob());
  }
  // What a browser says of a codec is a guess about the file: that a picture came is none.
  if (await hasPicture(video, url)) return "";
  URL.revokeObjectURL(url); // of another address it is nothing
  return cannot;
}

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

function hasPicture(video, url) {
  return new Promise((resolve) => {
    // A film whose picture cannot be decoded may still play its sound: that is the black one.
    video.addEventListener("loadeddata", () => resolve(video.videoWidth > 0), { once: true });
    video.addEventListener("error", () => resolve(false), { once: true });
    video.src = url;
  });
}

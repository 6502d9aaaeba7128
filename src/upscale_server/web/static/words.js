// Says sizes, times and states as a person would. It knows no element of the page.

const UNITS = ["bytes", "kB", "MB", "GB", "TB"];

/** Return a number of bytes, as file managers say it: 1 kB is 1000 bytes. */
export function bytes(count) {
  if (count === null || count === undefined) return "unknown";
  let value = count;
  let unit = 0;
  while (Number(rounded(value)) >= 1000 && unit < UNITS.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${rounded(value)} ${UNITS[unit]}`;
}

/** Return a length of time in its two largest units. */
export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "unknown";
  if (seconds < 9.95) return `${rounded(seconds)} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return parts(whole, 60, "min", "s");
  if (Math.round(whole / 60) < 24 * 60) return parts(Math.round(whole / 60), 60, "h", "min");
  const hours = Math.round(whole / 3600);
  return parts(hours, 24, hours < 48 ? "day" : "days", "h");
}

function parts(small, per, bigUnit, smallUnit) {
  const big = Math.floor(small / per);
  const rest = small % per;
  return rest ? `${big} ${bigUnit} ${rest} ${smallUnit}` : `${big} ${bigUnit}`;
}

/** Return a time inside a film: 1:02:03.5. */
export function clock(seconds, digits = 0) {
  const tenth = 10 ** digits;
  const all = Math.round(seconds * tenth) / tenth;
  const hours = Math.floor(all / 3600);
  const minutes = Math.floor((all % 3600) / 60);
  const rest = (all % 60).toFixed(digits).padStart(digits ? digits + 3 : 2, "0");
  return hours ? `${hours}:${String(minutes).padStart(2, "0")}:${rest}` : `${minutes}:${rest}`;
}

/** Return a number with as many digits as are worth reading. */
export function rounded(value) {
  if (Number.isInteger(value) || Math.abs(value) >= 100) return value.toFixed(0);
  return value.toFixed(Math.abs(value) >= 10 ? 1 : 2).replace(/\.?0+$/, "");
}

/** Return frames a second of a film, as exactly as people know it: 29.97 is not 30. */
export function rate(value) {
  return String(Number(value.toFixed(3)));
}

/** Return a whole number with thin spaces between its thousands. */
export function count(value) {
  return String(Math.round(value)).replace(/\B(?=(\d{3})+$)/g, "\u202f");
}

/** Return a size such as 3840x2160 as it is typeset. */
export function size(text) {
  return text.replace("x", " × ");
}

/** Return how far a figure may be off. */
export function error(relative) {
  return relative === null || relative === undefined ? "" : `± ${Math.max(1, Math.round(relative * 100))} %`;
}

/** Return one or several of something. */
export function several(number, one, many) {
  return `${count(number)} ${number === 1 ? one : many}`;
}

const CODECS = {
  h264: "H.264",
  hevc: "HEVC",
  av1: "AV1",
  vp8: "VP8",
  vp9: "VP9",
  mpeg1video: "MPEG-1",
  mpeg2video: "MPEG-2",
  mpeg4: "MPEG-4",
  prores: "ProRes",
};
const CONTAINERS = { matroska: "MKV", webm: "WebM", avi: "AVI", mpegts: "MPEG-TS", mpeg: "MPEG" };

/** Return what people call a codec. */
export function codec(name) {
  return CODECS[name] ?? name;
}

/** Return what people call a container; MP4 and MOV are one format, which the file's name tells apart. */
export function container(name, fileName) {
  if (name === "mov") return /\.mov$/i.test(fileName) ? "MOV" : "MP4";
  return CONTAINERS[name] ?? name;
}

const PHASES = {
  waiting: "Waiting for its turn",
  fetch: "Fetching the video",
  plan: "Making a plan",
  upscale: "Upscaling",
  join: "Joining the pieces",
  audit: "Comparing with the source, frame by frame",
  quality: "Measuring the quality",
  store: "Storing the result",
  done: "Finishing",
};

/** Return what a job is doing. */
export function phase(job) {
  if (job.wanted === "canceled") return "Stopping";
  if (job.wanted === "paused") return "Pausing after the running pieces";
  if (job.state === "queued") {
    return job.queue_position > 1 ? `Waiting, number ${job.queue_position} in the queue` : "Waiting, next in the queue";
  }
  if (job.state === "running") return PHASES[job.progress.phase] ?? job.progress.phase;
  return { paused: "Paused", succeeded: "Finished", failed: "Failed", canceled: "Canceled" }[job.state] ?? job.state;
}

const TASKS = { SD2HD: "SD to HD", SD24K: "SD to 4K", HD24K: "HD to 4K", "4K28K": "4K to 8K" };

/** Return what a job's video is called; the server calls the result by it and adds what was done. */
export function nameOf(job) {
  return (job.asked.file_name ?? "").replace(/_upscaled$/, "") || "Video";
}

/** Return what was asked of a job. */
export function goal(asked) {
  const wanted = TASKS[asked.task] ?? (asked.to ? `to ${size(asked.to)}` : asked.scale ? `× ${asked.scale}` : "");
  return [wanted, asked.model && `model ${asked.model}`, asked.codec && codec(asked.codec)].filter(Boolean).join(" · ");
}

// Says in words what the image server says in codes and numbers. It knows no element of the page.

import { bytes, count } from "./words.js";

const WARNINGS = {
  alpha_dropped: "JPEG holds no transparency: the picture was laid over white.",
  bits_reduced: "The source has 16 bits a channel and the result 8. Choose PNG with 16 bits to keep them.",
  colour_converted: "Its colours were brought to sRGB.",
  frames_dropped: "The file holds several pictures: only the first was enlarged.",
  metadata_dropped: "Some of its metadata does not fit into the format of the result.",
  out_of_memory: "The device was short of memory, so it was done in smaller parts.",
  picture_redone: "A first computation failed its check, so it was done again in full precision.",
};

/** Return what a warning means. */
export function warning(code) {
  return WARNINGS[code] ?? `The server notes: ${code.replaceAll("_", " ")}.`;
}

/** Return how large a picture may be, by `/info`. */
export function limitsWords({ limits, formats }) {
  const read = formats.read.map((name) => ({ WEBP: "WebP", JPEG2000: "JPEG 2000" })[name] ?? name).join(", ");
  const pixels = Math.floor(limits.max_pixels / 1e6);
  return (
    `${read}. At most ${bytes(limits.max_bytes)} and ${pixels} megapixels, ` +
    `and no side of the result longer than ${count(limits.max_output_side)} pixels.`
  );
}

/**
 * Return why a picture would be refused, empty where it would not be: said before it is sent.
 * @param {File} file the picture.
 * @param {{width: number, height: number}|null} size where the browser knows it.
 * @param {number} factor how many times larger it becomes.
 * @param {object} info what `/info` says.
 */
export function refusal(file, size, factor, { limits, settings }) {
  const name = (limit) => settings[limit];
  if (file.size > limits.max_bytes) {
    return `The file has ${bytes(file.size)}; at most ${bytes(limits.max_bytes)} are taken (the server’s ${name("max_bytes")})`;
  }
  if (!size) return "";
  const { width, height } = size;
  const side = Math.max(width, height);
  const shown = `${width} × ${height}`;
  if (width * height > limits.max_pixels) {
    return `The picture is ${shown}; at most ${count(limits.max_pixels)} pixels are taken (the server’s ${name("max_pixels")})`;
  }
  if (side > limits.max_source_side) {
    return `The picture is ${shown}; its longest side may be ${count(limits.max_source_side)} (the server’s ${name("max_source_side")})`;
  }
  if (side * factor <= limits.max_output_side) return "";
  const larger = `${width * factor} × ${height * factor}`;
  return `It would become ${larger}; the longest side may be ${count(limits.max_output_side)} (the server’s ${name("max_output_side")})`;
}

/** Return the name of the result's file. */
export function resultName(file, words, kind) {
  const stem = file.name.replace(/\.[^.]*$/, "") || "picture";
  const suffix = { "image/png": "png", "image/webp": "webp", "image/jpeg": "jpg" }[kind] ?? "png";
  return `${stem}_x${words.upscale}.${suffix}`;
}

// Says quality numbers: what each is called and how many of its digits mean something.

import { rounded } from "./words.js";

const NAMES = [
  ["vmaf", "VMAF", (value) => value.toFixed(1), "of 100; higher is better"],
  ["psnr_y", "PSNR\u2011Y", (value) => `${value.toFixed(2)}\u00a0dB`, "higher is better"],
  ["ssim", "SSIM", (value) => value.toFixed(4), "of 1; higher is better"],
  ["flicker", "Flicker", rounded, "0 is none; lower is better"],
];

/** Return what is known of a quality, words by name; an empty object where nothing was measured. */
export function qualityFacts(quality) {
  const known = NAMES.filter(([name]) => typeof quality?.[name] === "number");
  return Object.fromEntries(known.map(([name, words, said]) => [words, said(quality[name])]));
}

/** Return how to read a number, by the name that `qualityFacts` gives it. */
export function scaleOf(words) {
  return NAMES.find((one) => one[1] === words)?.[3] ?? "";
}

/** Return how to read a table of such numbers. */
export function scales() {
  return NAMES.map(([, words, , scale]) => `${words}: ${scale}`).join(". ");
}

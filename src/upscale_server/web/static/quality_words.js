// Says quality numbers: what each is called and how many of its digits mean something.

import { rounded } from "./words.js";

const NAMES = [
  ["vmaf", "VMAF", (value) => value.toFixed(1)],
  ["psnr_y", "PSNR\u2011Y", (value) => `${value.toFixed(2)}\u00a0dB`],
  ["ssim", "SSIM", (value) => value.toFixed(4)],
  ["flicker", "Flicker", rounded],
];

/** Return what is known of a quality, words by name; an empty object where nothing was measured. */
export function qualityFacts(quality) {
  const known = NAMES.filter(([name]) => typeof quality?.[name] === "number");
  return Object.fromEntries(known.map(([name, words, said]) => [words, said(quality[name])]));
}

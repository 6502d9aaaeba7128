// Shows what a video is: its picture, its facts, and a chip with a plain sentence for each trait that matters.

import { ask } from "./api.js";
import { byId, el, say } from "./dom.js";
import { sentence } from "./fault.js";
import { bytes, clock, codec, container, count, rate, several } from "./words.js";

const ASPECTS = { "16:9": 16 / 9, "4:3": 4 / 3, "3:2": 3 / 2, "1:1": 1, "9:16": 9 / 16, "3:4": 3 / 4, "2:3": 2 / 3 };

let poster = null;
let looking = new AbortController();

/** Show a source. */
export function showProbe(source) {
  const probe = source.probe;
  say(byId("probe-name"), source.file_name || "Video from an address");
  byId("probe-facts").replaceChildren(...facts(source, probe).map(([name, value]) => fact(name, value)));
  byId("probe-traits").replaceChildren(...probe.traits.map(trait));
  byId("probe-traits").hidden = !probe.traits.length;
  showPoster(source);
}

function fact(name, value) {
  return el("div", { class: "fact" }, el("dt", {}, name), el("dd", {}, value));
}

/** Return the size as it is seen: a film of a turned telephone is stored lying. */
export function shownSize({ width, height, rotation }) {
  return rotation % 180 ? { width: height, height: width } : { width, height };
}

/** Return an aspect ratio that is no ratio of small numbers as the one that people know, where it is nearly that. */
function aspect(said) {
  const number = Number(said);
  const near = Object.entries(ASPECTS).find(([, one]) => Math.abs(one / number - 1) < 0.01);
  return near ? `about ${near[0]}` : said;
}

function facts(source, probe) {
  const { width, height } = shownSize(probe);
  const sides = [`${width} × ${height}`, aspect(probe.display_aspect)].filter(Boolean).join(", ");
  const speed = probe.average_rate ? `${rate(probe.average_rate)} fps${probe.variable_rate ? ", varying" : ""}` : "";
  const frames = probe.frames ? several(probe.frames, "frame", "frames") : "";
  return [
    ["Picture", sides],
    ["Length", [length(probe.duration_seconds ?? 0), frames].filter(Boolean).join(", ")],
    ["Rate", speed],
    ["Codec", [codec(probe.codec), container(probe.container, source.file_name)].filter(Boolean).join(" in ")],
    ["Depth", probe.bit_depth ? `${probe.bit_depth} bit${probe.hdr ? `, ${probe.hdr}` : ""}` : ""],
    ["Colour", probe.colour],
    ["Size", bytes(source.byte_count)],
    ["Tracks", tracks(probe)],
  ].filter(([, value]) => value);
}

/** Return how long a film is: of less than a minute in seconds, as people say it. */
function length(seconds) {
  return seconds < 59.95 ? `${Number(seconds.toFixed(1))} s` : clock(seconds, 1);
}

function tracks(probe) {
  const kinds = {};
  for (const track of probe.tracks) kinds[track.kind] = (kinds[track.kind] ?? 0) + 1;
  const said = Object.entries(kinds).map(([kind, number]) => `${count(number)} ${kind}`);
  if (probe.chapters) said.push(several(probe.chapters, "chapter", "chapters"));
  return said.join(", ");
}

function trait(one) {
  const isWarning = one.level === "warning";
  return el(
    "li",
    { class: `trait ${isWarning ? "trait--warning" : ""}` },
    el("span", { class: `chip ${isWarning ? "chip--warning" : "chip--ok"}` }, label(one.code)),
    el("span", { class: "note" }, sentence(one.text)),
  );
}

/** Return a code as words: variable_rate is Variable rate. */
function label(code) {
  const words = code.replaceAll("_", " ").replace(/\b(hdr|rgb)\b/g, (short) => short.toUpperCase());
  return words.charAt(0).toUpperCase() + words.slice(1);
}

async function showPoster(source) {
  const picture = byId("probe-poster");
  looking.abort(); // the picture of another video may still be on its way
  looking = new AbortController();
  const { signal } = looking;
  picture.hidden = true;
  if (poster) URL.revokeObjectURL(poster);
  poster = null;
  try {
    const reply = await ask(`/v1/sources/${source.id}/poster.jpg`, { signal });
    const bytesOfIt = await reply.blob();
    if (signal.aborted) return;
    poster = URL.createObjectURL(bytesOfIt);
    picture.src = poster;
    picture.hidden = false;
  } catch {
    // a video without a picture to show is still a video; what matters is said in its facts
  }
}

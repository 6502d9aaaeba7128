// What came of a job: to be watched and fetched, and every promise it was held against, in words.

import { askJson, keyHeaders } from "./api.js";
import { el, say } from "./dom.js";
import { keepFile } from "./download.js";
import { clearFault, sentence, showFault } from "./fault.js";
import { linkLife } from "./link_life.js";
import "./player.js";
import { qualityFacts, scaleOf } from "./quality_words.js";
import { bytes, duration, rounded, size } from "./words.js";

const STAGES = { decode: "Decoding", upscale: "Upscaling", encode: "Encoding" };

/** Return the card in a place; `onAgain` is asked to run the video again. */
export function resultCard(place, onAgain) {
  const player = el("growing-player", { class: "player" });
  const told = el("div", { class: "stack" });
  const fault = el("div", { hidden: true });
  let drawnFor = "";
  place.replaceChildren(player, fault, told);

  return {
    /** Show a job as it is now. */
    async show(job) {
      player.job = job;
      if (job.state !== "succeeded" || drawnFor === job.id) return;
      drawnFor = job.id;
      try {
        const { audit, report } = await askJson(`/v1/jobs/${job.id}/audit`);
        told.replaceChildren(...parts(job, audit, report, onAgain, fault));
      } catch (problem) {
        drawnFor = "";
        showFault(fault, problem);
      }
    },
    /** Stop playing. */
    hide() {
      player.job = null;
    },
  };
}

function parts(job, audit, report, onAgain, fault) {
  return [
    facts(job, report),
    actions(job, onAgain, fault),
    job.result.fallback && el("p", { class: "notice notice--warning note" }, sentence(job.result.fallback)),
    ...(report.warnings ?? []).map((one) => el("p", { class: "notice notice--warning note" }, sentence(one.detail))),
    quality(report.quality),
    forecast(report),
    timings(report),
    checks(audit),
  ].filter(Boolean);
}

function facts(job, report) {
  return el(
    "dl",
    { class: "figures" },
    figure("Picture", size(report.size), `from ${size(report.source_size)}`),
    figure("Size", bytes(job.result.byte_count)),
    figure("Time", duration(job.result.seconds), "from its start to the stored result"),
    figure("Model", report.model, [report.engine, report.precision].filter(Boolean).join(" · ")),
  );
}

function figure(name, value, more) {
  return el(
    "div",
    { class: "figure" },
    el("dt", {}, name),
    el("dd", {}, el("span", { class: "value" }, value), more && el("span", { class: "note" }, more)),
  );
}

function actions(job, onAgain, fault) {
  const life = linkLife(job.result.url);
  return el(
    "div",
    { class: "row" },
    download(job, fault),
    el("button", { type: "button", class: "button", onclick: () => onAgain(job) }, "Run again with…"),
    life && el("p", { class: "note" }, life),
  );
}

/** A link that opens by itself is left to the browser; what needs the key is fetched with it and then kept. */
function download(job, fault) {
  const needsKey = job.result.url.includes("/v1/jobs/") && keyHeaders().Authorization;
  if (!needsKey) return el("a", { class: "button button--primary", href: job.result.url, download: "" }, "Download");
  let stop = null;
  const button = el("button", { type: "button", class: "button button--primary number" }, "Download");
  button.addEventListener("click", async () => {
    if (stop) return stop.abort();
    stop = new AbortController();
    clearFault(fault);
    const onProgress = (part) => say(button, `Cancel the download · ${Math.floor(100 * part)} %`);
    onProgress(0);
    try {
      await keepFile(fileOf(job), { signal: stop.signal, onProgress });
    } catch (problem) {
      if (problem.name !== "AbortError") showFault(fault, problem); // it is canceled here, or where its place is chosen
    }
    stop = null;
    say(button, "Download");
  });
  return button;
}

function fileOf(job) {
  const name = job.asked.file_name || "upscaled";
  const ending = /\.\w{2,4}$/.test(name) ? "" : ".mp4";
  return { path: `/v1/jobs/${job.id}/output`, name: `${name}${ending}`, size: job.result.byte_count };
}

function quality(found) {
  const known = Object.entries(qualityFacts(found));
  if (!known.length) return null;
  return el(
    "section",
    { class: "stack stack--tight" },
    el("h4", {}, "Quality"),
    el("dl", { class: "figures" }, known.map(([name, words]) => figure(name, words, scaleOf(name)))),
    el("p", { class: "note" }, "The result made as small as the source again and held against it; flicker compares how both change from frame to frame."),
  );
}

function forecast(report) {
  const { predicted, actual } = report;
  if (!predicted || !actual) return null;
  const row = (name, said, key) => {
    const [before, after] = [predicted[key], actual[key]];
    if (typeof before !== "number" || typeof after !== "number") return null;
    return el("tr", {}, el("th", { scope: "row" }, name), el("td", {}, said(before)), el("td", {}, said(after)), el("td", {}, difference(before, after, key)));
  };
  const rows = [row("Upscaling and joining", duration, "seconds"), row("Size", bytes, "byte_count")].filter(Boolean);
  if (!rows.length) return null;
  const head = ["", "Predicted", "Found", "Difference"].map((name) => el(name ? "th" : "td", name ? { scope: "col" } : {}, name));
  return el(
    "section",
    { class: "stack stack--tight" },
    el("h4", {}, "Predicted and found"),
    el(
      "div",
      { class: "table-frame", tabindex: "0", role: "group", "aria-label": "Predicted and found" }, // it scrolls
      el("table", {}, el("thead", {}, el("tr", {}, head)), el("tbody", {}, rows)),
    ),
  );
}

/** Return how far a prediction was off, as people say it: far off is so many times. */
function difference(before, after, key) {
  if (!(before > 0 && after > 0)) return "";
  const [more, less] = key === "seconds" ? ["slower", "faster"] : ["larger", "smaller"];
  const times = Math.max(before / after, after / before);
  const way = after > before ? more : less;
  if (times >= 2) return `${rounded(Number(times.toFixed(1)))} times ${way}`;
  const percent = Math.round((100 * Math.abs(after - before)) / before);
  return percent ? `${percent} % ${way}` : "as said";
}

function timings(report) {
  const stages = Object.entries(report.stage_seconds ?? {});
  const most = Math.max(...stages.map(([, seconds]) => seconds), 0.001);
  if (!stages.length) return null;
  const rows = stages.map(([name, seconds]) => {
    const bar = el("div", { class: "bar", "aria-hidden": "true" });
    bar.style.setProperty("--done", String(seconds / most));
    return el("div", { class: "timing" }, el("dt", {}, STAGES[name] ?? name), el("dd", { class: "number" }, duration(seconds)), bar);
  });
  return el(
    "section",
    { class: "stack stack--tight" },
    el("h4", {}, "Where the time went"),
    el("dl", { class: "timings" }, rows),
    el("p", { class: "note" }, "The work on the frames. Stages work side by side, so that together they may be longer than the whole; planning, joining, comparing and storing come on top."),
  );
}

function checks(audit) {
  const kept = audit.rules.filter((rule) => rule.ok).length;
  const broken = audit.rules.length - kept;
  const summary = broken
    ? `Compared with the source: ${kept} of ${audit.rules.length} checks passed`
    : `Compared with the source: all ${kept} checks passed`;
  return el(
    "details",
    { class: "checks", open: broken > 0 },
    el("summary", {}, summary),
    el("ul", { class: "check-list" }, audit.rules.map(check)),
  );
}

function check(rule) {
  const mark = rule.ok ? "✓" : rule.hard ? "✗" : "!";
  const word = rule.ok ? "kept" : rule.hard ? "broken" : "differs";
  const name = rule.name.charAt(0).toUpperCase() + rule.name.slice(1);
  const isSame = rule.ok && [rule.expected, "the same"].includes(rule.found);
  return el(
    "li",
    { class: `checked checked--${word}` },
    el("span", { class: "mark", "aria-hidden": "true" }, mark),
    el("span", { class: "checked-name" }, name, el("span", { class: "only-heard" }, ` ${word}: `)),
    el("span", { class: "note" }, isSame ? rule.expected : `expected ${rule.expected}; found ${rule.found}`),
  );
}

// Shows a few seconds of the video through one or several models, beside the source, before the whole is paid for.

import { Problem, ask, askJson, blobUrl, send } from "./api.js";
import "./compare.js";
import { byId, el, say, show } from "./dom.js";
import { clearFault, sentence, showFault } from "./fault.js";
import { modelFacts } from "./goal.js";
import { qualityFacts } from "./quality_words.js";
import { bytes, clock, count, duration, rounded } from "./words.js";

const LOOK_MS = 700;
const SECONDS = 3;
const FINISHED = ["succeeded", "failed", "canceled"];

/**
 * Return the panel.
 * @param {function(): (object|null)} asked what is asked for now, null where there is no source.
 */
export function previewPanel(asked) {
  const scrub = byId("preview-start");
  const eye = byId("preview-eye");
  const fault = byId("preview-fault");
  let running = null; // {id, stop}
  let shown = []; // addresses to let go of
  let file = null;

  scrub.addEventListener("input", () => {
    sayStart();
    if (file) eye.currentTime = Number(scrub.value);
  });
  byId("preview-run").addEventListener("click", run);
  byId("preview-stop").addEventListener("click", () => running && ask(`/v1/previews/${running.id}/cancel`, { method: "POST" }));

  function sayStart() {
    const start = Number(scrub.value);
    const words = `from ${clock(start, 1)} to ${clock(start + SECONDS, 1)}`;
    say(byId("preview-when"), words);
    scrub.setAttribute("aria-valuetext", words);
  }

  async function run() {
    const body = asked();
    const models = [...document.querySelectorAll("#preview-models input:checked")].map((one) => one.value);
    if (!body) return;
    const { model, quality, allow_partial, ...fields } = body;
    clearFault(fault);
    begin();
    try {
      const wanted = { ...fields, start_seconds: Number(scrub.value), seconds: SECONDS };
      if (models.length) wanted.models = models;
      if (byId("preview-self").checked) wanted.self_test = true;
      await watch(await send("/v1/previews", wanted));
    } catch (problem) {
      if (problem.name !== "AbortError") showFault(fault, problem, problem.retryable ? run : null);
    }
    end();
  }

  function begin() {
    byId("preview-run").disabled = true;
    show(byId("preview-progress"));
    progress({ state: "queued", progress: { done: 0, total: 0 } });
  }

  function end() {
    running = null;
    byId("preview-run").disabled = false;
    show(byId("preview-progress"), false);
  }

  async function watch(first) {
    const stop = new AbortController();
    running = { id: first.id, stop };
    let view = first;
    while (!FINISHED.includes(view.state)) {
      progress(view);
      await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
      view = await askJson(`/v1/previews/${first.id}`, { signal: stop.signal });
    }
    if (view.state === "failed") throw new Problem(view.fault ?? { detail: "the preview failed" });
    if (view.state === "succeeded") await compare(view, stop.signal);
  }

  async function compare(view, signal) {
    letGo();
    const items = [view.before, ...view.items.filter((item) => item.url)].filter(Boolean);
    const urls = await Promise.all(items.map((item) => blobUrl(item.url, signal)));
    shown = urls;
    const stage = byId("preview-view");
    stage.frameTimes = view.frame_times;
    stage.items = items.map((item, place) => compared(item, urls[place], view));
    show(byId("preview-result"));
    say(byId("preview-verdict"), said(view));
    byId("preview-said").replaceChildren(
      ...view.items.filter((item) => item.fault).map((item) =>
        el("li", { class: "notice notice--bad note" }, sentence(`${item.model}: ${item.fault.detail}`)),
      ),
      ...view.warnings.map((one) => el("li", { class: "notice notice--warning note" }, sentence(one.detail))),
    );
    byId("preview-result").focus();
  }

  function letGo() {
    byId("preview-view").items = [];
    for (const url of shown) URL.revokeObjectURL(url);
    shown = [];
  }

  return {
    /** Begin anew with a source; `chosen` is its file where it was chosen here, so that the place can be seen. */
    open(source, chosen) {
      running?.stop.abort();
      letGo();
      show(byId("preview-result"), false);
      clearFault(fault);
      const most = Math.max(0, (source.probe.duration_seconds ?? 0) - SECONDS);
      scrub.max = String(Math.round(most * 10) / 10);
      scrub.value = String(most / 2);
      scrub.disabled = most === 0;
      sayStart();
      file = null;
      show(eye, false);
      if (eye.src) URL.revokeObjectURL(eye.src);
      eye.removeAttribute("src");
      if (chosen) look(chosen);
    },
    /** Offer models; those that are planned are ticked. */
    offer(models, planned) {
      const ticked = new Set([...document.querySelectorAll("#preview-models input:checked")].map((one) => one.value));
      if (!ticked.size) ticked.add(planned);
      byId("preview-models").replaceChildren(...models.map((one) => choice(one, ticked.has(one.name))));
    },
  };

  /** Show the chosen file itself where the browser can play it: the place is then seen and not guessed. */
  function look(chosen) {
    eye.onloadeddata = () => {
      file = chosen;
      eye.currentTime = Number(scrub.value);
      show(eye);
    };
    eye.onerror = () => show(eye, false);
    eye.src = URL.createObjectURL(chosen);
  }
}

function choice(model, isTicked) {
  return el(
    "label",
    { class: "check" },
    el("input", { type: "checkbox", value: model.name, checked: isTicked }),
    el("span", {}, model.name, " ", el("span", { class: "note" }, modelFacts(model)[0])),
  );
}

function progress(view) {
  const { done, total } = view.progress;
  const bar = byId("preview-bar");
  const part = total ? done / total : 0;
  bar.style.setProperty("--done", String(part));
  bar.setAttribute("aria-valuenow", String(Math.round(100 * part)));
  say(
    byId("preview-words"),
    view.state === "queued" ? "Waiting for its turn…" : total ? `${count(done)} of ${count(total)} frames` : "Beginning…",
  );
}

function compared(item, url, view) {
  const isBefore = item === view.before;
  return {
    name: isBefore ? "before" : item.model,
    label: isBefore ? "Before (bicubic)" : item.model,
    kind: "video",
    blobUrl: url,
    facts: facts(item),
  };
}

/** Return what is told of a side; a line that no side has stays out of the table. */
function facts(item) {
  const { fps, seconds, byte_count: size, quality } = item;
  const said = {};
  if (fps) said.Speed = `${rounded(fps)} fps`;
  if (seconds) said.Time = duration(seconds);
  if (size) said.Size = bytes(size);
  return { ...said, ...qualityFacts(quality) };
}

function said(view) {
  const parts = [`${duration(view.seconds)} at ${view.width} × ${view.height}.`];
  if (view.self_test && view.best) {
    const best = view.best === "before" ? "No model helps here; bicubic restored it best" : `${view.best} restored it best`;
    parts.push(sentence(view.best_because ? `${best}: ${view.best_because}` : best));
  }
  return parts.join(" ");
}

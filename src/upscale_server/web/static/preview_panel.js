// Asks for a few seconds of the video through one or several models, before the whole is paid for, and waits for them.

import { Problem, ask, askJson, send } from "./api.js";
import { byId, say, show } from "./dom.js";
import { clearFault, showFault } from "./fault.js";
import { showFirstMark } from "./field_marks.js";
import { previewModels } from "./preview_models.js";
import { hidePreview, showPreview } from "./preview_result.js";
import { forget, keep, kept } from "./session.js";
import { clock, count, duration, goal } from "./words.js";

const LOOK_MS = 700;
const SECONDS = 3;
const FINISHED = ["succeeded", "failed", "canceled"];
const OF = "preview-of-";
/** What a person answered here for a source: a reload does not ask again. */
const ANSWERS_OF = "preview-answers-of-";
/** Between two tries while the server does not answer. */
const AGAIN_MS = 2000;

/**
 * Return the panel.
 * @param {function(): (object|null)} asked what is asked for now, null where there is no source.
 */
export function previewPanel(asked) {
  const scrub = byId("preview-start");
  const fault = byId("preview-fault");
  const eye = chosenFilm(() => Number(scrub.value));
  const models = previewModels(keepAnswers);
  let length = 0;
  let sourceId = "";
  let stop = new AbortController();
  let running = "";
  let made = null; // what was asked for when the preview was made

  scrub.addEventListener("change", keepAnswers);
  byId("preview-self").addEventListener("change", keepAnswers);
  scrub.addEventListener("input", () => {
    sayPlace();
    eye.seek();
  });
  byId("preview-run").addEventListener("click", run);
  byId("preview-stop").addEventListener("click", cancel);

  function sayPlace() {
    const start = Number(scrub.value);
    const words = `from ${clock(start, 1)} to ${clock(Math.min(start + SECONDS, length), 1)}`;
    say(byId("preview-when"), words);
    scrub.setAttribute("aria-valuetext", words);
  }

  function keepAnswers() {
    const answers = { models: models.picked, start: scrub.value, isSelfTest: byId("preview-self").checked };
    keep(ANSWERS_OF + sourceId, JSON.stringify(answers));
  }

  /** Fill in what was answered for this source before. */
  function takeAnswers() {
    const answers = JSON.parse(kept(ANSWERS_OF + sourceId) ?? "{}");
    models.begin(answers.models ?? null);
    byId("preview-self").checked = Boolean(answers.isSelfTest);
    if (answers.start) scrub.value = answers.start;
  }

  async function run() {
    const body = asked();
    if (!body) {
      showFirstMark();
      return;
    }
    await shownWhenDone(async () => {
      const view = await send("/v1/previews", bodyOf(body, Number(scrub.value), models.ticked()), { signal: stop.signal });
      made = body;
      keep(OF + body.source_id, JSON.stringify({ id: view.id, body }));
      return view;
    }, run);
    changed();
    if (!byId("preview-result").hidden) byId("preview-result").focus();
  }

  /** Wait for the preview that `find` gives and show it; `again` is what can be tried once more. */
  async function shownWhenDone(find, again) {
    const { signal } = stop;
    clearFault(fault);
    busy(true);
    try {
      await watched(await find(), signal);
    } catch (problem) {
      if (!signal.aborted) showFault(fault, problem, problem.retryable ? again : null);
    }
    if (!signal.aborted) busy(false);
  }

  /** Say of a shown preview that it is of something else than what is asked for by now. */
  function changed() {
    const now = asked();
    const isOld = Boolean(made && now) && JSON.stringify(bare(made)) !== JSON.stringify(bare(now));
    show(byId("preview-old"), isOld);
    if (isOld) say(byId("preview-old"), `This was made for other settings: ${goal(wordsOf(made))}.`);
  }

  async function watched(first, signal) {
    let view = first;
    running = first.id;
    try {
      while (!FINISHED.includes(view.state)) {
        progress(view);
        await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
        view = await newsOf(first.id, signal);
      }
    } finally {
      running = "";
    }
    if (view.state === "failed") throw new Problem(view.fault ?? { detail: "the preview failed" });
    if (view.state === "succeeded") await showPreview(view, signal);
  }

  /** Show the preview that was asked for before a reload, where the server still has it. */
  async function comeBack(name, { id, body }) {
    const { signal } = stop;
    made = body;
    try {
      const view = await askJson(`/v1/previews/${id}`, { signal });
      await shownWhenDone(() => view, null);
      changed();
    } catch (problem) {
      if (problem.status === 404) forget(name);
    }
  }

  async function cancel() {
    if (!running) return;
    try {
      await ask(`/v1/previews/${running}/cancel`, { method: "POST" });
      byId("preview-run").focus();
    } catch (problem) {
      showFault(fault, problem);
    }
  }

  /** Let go of what runs and of what is shown. */
  function close() {
    if (running) ask(`/v1/previews/${running}/cancel`, { method: "POST" }).catch(() => {}); // it ends by itself then
    stop.abort();
    stop = new AbortController();
    running = "";
    made = null;
    hidePreview();
    show(byId("preview-old"), false);
    busy(false);
    clearFault(fault);
    eye.open(null);
  }

  return {
    changed,
    close,
    /** Begin anew with a source; `chosen` is its file where it was chosen here, so that the place can be seen. */
    open(source, chosen) {
      close();
      sourceId = source.id;
      length = source.probe.duration_seconds ?? 0;
      const last = Math.max(0, length - SECONDS);
      scrub.max = String(Math.floor(last * 10) / 10);
      scrub.value = String(last / 2);
      scrub.disabled = last === 0;
      takeAnswers();
      show(byId("preview-place"), last > 0);
      const isShort = length > 0 && last === 0;
      say(byId("preview-title"), isShort ? "Look at all of it first" : "Look at three seconds first");
      say(byId("preview-run"), isShort ? `Show all of it (${duration(length)})` : "Show three seconds");
      sayPlace();
      eye.open(chosen);
      const before = kept(OF + source.id);
      if (before?.startsWith("{")) comeBack(OF + source.id, JSON.parse(before));
    },
    offer: models.offer,
  };
}

/** Ask how a preview is, for as long as it takes: an outage is no reason to lose it. */
async function newsOf(id, signal) {
  for (;;) {
    try {
      return await askJson(`/v1/previews/${id}`, { signal });
    } catch (problem) {
      const passes = problem instanceof Problem && (problem.status === 0 || problem.status >= 500);
      if (signal.aborted || !passes) throw problem;
      say(byId("preview-words"), "The server does not answer. This goes on when it is back.");
      await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
    }
  }
}

/** Return what of a job's fields a preview depends on. */
const bare = ({ model, quality, allow_partial, codec, crf, maximum_optimized_size_mb, ...seen }) => seen;

/** Return fields as `goal` says those of a job. */
const wordsOf = (fields) => ({ task: fields.task_type, to: fields.target, scale: fields.scale });

/** Return what is asked of a preview: the job's size, and what belongs to the preview alone. */
function bodyOf({ model, quality, allow_partial, ...fields }, start, models) {
  return {
    ...fields,
    start_seconds: start,
    seconds: SECONDS,
    ...(models.length && { models }),
    ...(byId("preview-self").checked && { self_test: true }),
  };
}

function busy(isBusy) {
  byId("preview-run").disabled = isBusy;
  show(byId("preview-progress"), isBusy);
  if (isBusy) progress({ state: "queued", progress: { done: 0, total: 0 } });
}

function progress(view) {
  const { done, total } = view.progress;
  const part = total ? done / total : 0;
  const words = view.state === "queued" ? "Waiting for its turn…" : total ? `${count(done)} of ${count(total)} frames` : "Beginning…";
  byId("preview-bar").style.setProperty("--done", String(part));
  byId("preview-bar").setAttribute("aria-valuenow", String(Math.round(100 * part)));
  say(byId("preview-words"), words);
}

/** Show the chosen file itself where the browser can play it: the place is then seen and not guessed. */
function chosenFilm(place) {
  const film = byId("preview-eye");
  let isSeen = false;
  film.addEventListener("loadeddata", () => {
    isSeen = true;
    film.currentTime = place();
  });
  film.addEventListener("seeked", () => show(film)); // before that its first frame would be seen, mostly a black one
  film.addEventListener("error", () => show(film, false));
  return {
    open(file) {
      isSeen = false;
      show(film, false);
      if (film.src) URL.revokeObjectURL(film.src);
      film.removeAttribute("src");
      if (file) film.src = URL.createObjectURL(file);
    },
    seek() {
      if (isSeen) film.currentTime = place();
    },
  };
}

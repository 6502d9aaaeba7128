// Asks for a few seconds of the video through one or several models, before the whole is paid for, and waits for them.

import { Problem, ask, askJson, send } from "./api.js";
import { byId, el, say, show } from "./dom.js";
import { clearFault, showFault } from "./fault.js";
import { modelFacts } from "./goal.js";
import { hidePreview, showPreview } from "./preview_result.js";
import { forget, keep, kept } from "./session.js";
import { clock, count } from "./words.js";

const LOOK_MS = 700;
const SECONDS = 3;
const FINISHED = ["succeeded", "failed", "canceled"];
const OF = "preview-of-";

/**
 * Return the panel.
 * @param {function(): (object|null)} asked what is asked for now, null where there is no source.
 */
export function previewPanel(asked) {
  const scrub = byId("preview-start");
  const fault = byId("preview-fault");
  const eye = chosenFilm(() => Number(scrub.value));
  let length = 0;
  let stop = new AbortController();
  let running = "";

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

  async function run() {
    const body = asked();
    if (!body) return;
    await shownWhenDone(async () => {
      const view = await send("/v1/previews", bodyOf(body, Number(scrub.value)), { signal: stop.signal });
      keep(OF + body.source_id, view.id);
      return view;
    }, run);
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

  async function watched(first, signal) {
    let view = first;
    running = first.id;
    while (!FINISHED.includes(view.state)) {
      progress(view);
      await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
      view = await askJson(`/v1/previews/${first.id}`, { signal });
    }
    running = "";
    if (view.state === "failed") throw new Problem(view.fault ?? { detail: "the preview failed" });
    if (view.state === "succeeded") await showPreview(view, signal);
  }

  /** Show the preview that was asked for before a reload, where the server still has it. */
  async function comeBack(name, id) {
    const { signal } = stop;
    try {
      const view = await askJson(`/v1/previews/${id}`, { signal });
      await shownWhenDone(() => view, null);
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

  return {
    /** Begin anew with a source; `chosen` is its file where it was chosen here, so that the place can be seen. */
    open(source, chosen) {
      stop.abort();
      stop = new AbortController();
      hidePreview();
      busy(false);
      clearFault(fault);
      length = source.probe.duration_seconds ?? 0;
      const last = Math.max(0, length - SECONDS);
      scrub.max = String(Math.floor(last * 10) / 10);
      scrub.value = String(last / 2);
      scrub.disabled = last === 0;
      sayPlace();
      eye.open(chosen);
      const before = kept(OF + source.id);
      if (before) comeBack(OF + source.id, before);
    },
    /** Offer models; the planned one is ticked where a person has ticked none. */
    offer(models, planned) {
      const place = byId("preview-models");
      const boxes = [...place.querySelectorAll("input")];
      const isNew = boxes.map((box) => box.value).join() !== models.map((one) => one.name).join();
      const ticked = new Set(tickedModels());
      if (!ticked.size) ticked.add(planned);
      if (isNew) place.replaceChildren(...models.map((one) => choice(one, ticked.has(one.name))));
      else for (const box of boxes) box.checked = ticked.has(box.value); // what has the focus stays
    },
  };
}

const tickedModels = () => [...document.querySelectorAll("#preview-models input:checked")].map((one) => one.value);

/** Return what is asked of a preview: the job's size, and what belongs to the preview alone. */
function bodyOf({ model, quality, allow_partial, ...fields }, start) {
  const models = tickedModels();
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

function choice(model, isTicked) {
  return el(
    "label",
    { class: "check" },
    el("input", { type: "checkbox", value: model.name, checked: isTicked }),
    el("span", {}, model.name, " ", el("span", { class: "note" }, modelFacts(model)[0])),
  );
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

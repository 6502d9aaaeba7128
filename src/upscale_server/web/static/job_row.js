// One job in the list: its picture, what it is doing in words, its progress, and what can be done with it.

import { ask, askJson } from "./api.js";
import { el, say, show } from "./dom.js";
import { clearFault, sentence, showFault } from "./fault.js";
import { resultCard } from "./result_card.js";
import { bytes, count, duration, goal, nameOf, phase, rounded } from "./words.js";

/** The picture is asked for again so often while a job runs. */
const LOOK_MS = 4000;

const WORDS = { pause: "Pause", resume: "Resume", cancel: "Cancel", retry: "Try again", remove: "Remove" };
const FINISHED = ["succeeded", "failed", "canceled"];

/** Return the row of a job; `onAgain` is asked to run its video again. */
export function jobRow(first, onAgain) {
  let job = first;
  let picture = null;
  let looked = Number.NEGATIVE_INFINITY;
  let card = null;
  const parts = built(first);
  const fault = parts.fault;

  for (const [verb, button] of Object.entries(parts.buttons)) button.addEventListener("click", () => act(verb));
  parts.watch.addEventListener("click", toggle);

  async function act(verb) {
    clearFault(fault);
    try {
      if (verb === "remove") await ask(`/v1/jobs/${job.id}`, { method: "DELETE" });
      else update(await askJson(`/v1/jobs/${job.id}/${verb}`, { method: "POST" }));
    } catch (problem) {
      showFault(fault, problem);
    }
  }

  function toggle() {
    const open = parts.watch.getAttribute("aria-expanded") !== "true";
    parts.watch.setAttribute("aria-expanded", String(open));
    show(parts.result, open);
    if (open) {
      card ??= resultCard(parts.result, onAgain);
      card.show(job);
    } else {
      card?.hide();
    }
  }

  function update(news) {
    job = news;
    draw(parts, job);
    if (!parts.result.hidden) card?.show(job);
    look();
  }

  /** Fetch the newest picture, not more often than it is worth. */
  async function look() {
    const isLast = FINISHED.includes(job.state);
    const due = performance.now() - looked > LOOK_MS || (isLast && !parts.isSettled);
    if (!due || document.hidden || !job.progress.frames_done) return;
    looked = performance.now();
    parts.isSettled = isLast;
    try {
      const { segments } = await askJson(`/v1/jobs/${job.id}/segments`);
      if (!segments.length) return; // there is no picture before the first piece is done
      const reply = await ask(`/v1/jobs/${job.id}/thumbnail.jpg`);
      const url = URL.createObjectURL(await reply.blob());
      if (picture) URL.revokeObjectURL(picture);
      picture = url;
      parts.picture.src = url;
      show(parts.frame);
    } catch {
      // there is none yet, or none at all: the row says all that matters in words
    }
  }

  update(first);
  return {
    element: parts.row,
    createdAt: first.created_at,
    /** How much of a running job is done, null where it does not run. */
    get part() {
      const { frames_done: done, frames_total: total } = job.progress;
      return job.state === "running" && total ? done / total : null;
    },
    get version() {
      return job.version;
    },
    update,
    focus: () => parts.row.focus(),
    close() {
      card?.hide();
      if (picture) URL.revokeObjectURL(picture);
      parts.row.remove();
    },
  };
}

function built(job) {
  const name = nameOf(job);
  const buttons = Object.fromEntries(
    Object.entries(WORDS).map(([verb, words]) => [
      verb,
      el("button", { type: "button", class: "button button--small", "aria-label": `${words}: ${name}`, hidden: true }, words),
    ]),
  );
  const parts = {
    buttons,
    isSettled: false,
    picture: el("img", { class: "job-picture", alt: "" }),
    words: el("p", { class: "job-words" }),
    numbers: el("p", { class: "note number" }),
    bar: el("div", {
      class: "bar",
      role: "progressbar",
      "aria-label": `Progress of ${name}`,
      "aria-valuemin": 0,
      "aria-valuemax": 100,
    }),
    fault: el("div", { hidden: true }),
    watch: el("button", { type: "button", class: "button button--small button--primary", "aria-expanded": "false", hidden: true }),
    result: el("div", { class: "result", hidden: true }),
  };
  parts.frame = el("div", { class: "job-frame", hidden: true }, parts.picture);
  parts.row = el(
    "li",
    { class: "card job", tabindex: "-1", "data-job": job.id, "aria-label": name },
    parts.frame,
    el(
      "div",
      { class: "job-main stack stack--tight" },
      el("div", {}, el("h3", {}, name), el("p", { class: "note" }, goal(job.asked))),
      parts.words,
      parts.bar,
      parts.numbers,
      parts.fault,
      el("div", { class: "row" }, parts.watch, Object.values(buttons)),
    ),
    parts.result,
  );
  return parts;
}

function draw(parts, job) {
  const { frames_done: done, frames_total: total } = job.progress;
  const part = total ? done / total : 0;
  parts.row.dataset.state = job.state;
  say(parts.words, job.fault && job.state === "failed" ? `Failed. ${sentence(job.fault.detail)}` : phase(job));
  parts.bar.style.setProperty("--done", String(part));
  parts.bar.classList.toggle("bar--still", job.state !== "running");
  parts.bar.setAttribute("aria-valuenow", String(Math.round(100 * part)));
  parts.bar.setAttribute("aria-valuetext", phase(job));
  show(parts.bar, !FINISHED.includes(job.state));
  say(parts.numbers, numbers(job));
  if (job.state === "failed" && job.fault?.hint) say(parts.numbers, sentence(job.fault.hint));
  drawButtons(parts, job);
}

function numbers(job) {
  const { frames_done: done, frames_total: total, fps, eta_seconds: left } = job.progress;
  if (job.state === "succeeded") return job.result ? `in ${duration(job.result.seconds)} · ${bytes(job.result.byte_count)}` : "";
  if (!total) return "";
  const said = [`${count(done)} of ${count(total)} frames`];
  if (job.state === "running" && fps) said.push(`${rounded(fps)} fps`);
  if (job.state === "running" && left !== null) said.push(`about ${duration(left)} left`);
  return said.join(" · ");
}

function drawButtons(parts, job) {
  const can = {
    pause: ["queued", "running"].includes(job.state) && !job.wanted,
    resume: job.state === "paused" || job.wanted === "paused",
    cancel: ["queued", "running", "paused"].includes(job.state) && job.wanted !== "canceled",
    retry: ["failed", "canceled"].includes(job.state),
    remove: FINISHED.includes(job.state),
  };
  const hadFocus = document.activeElement;
  for (const [verb, button] of Object.entries(parts.buttons)) show(button, can[verb]);
  const watches = job.state === "succeeded" || (job.state === "running" && job.progress.frames_done > 0);
  show(parts.watch, watches);
  say(parts.watch, job.state === "succeeded" ? "Result" : "Watch");
  // A button that has gone would leave the keyboard at the top of the page.
  if (hadFocus instanceof HTMLElement && parts.row.contains(hadFocus) && hadFocus.hidden) parts.row.focus();
}

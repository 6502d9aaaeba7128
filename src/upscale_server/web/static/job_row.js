// One job in the list: its picture, what it is doing in words, its progress, and what can be done with it.

import { Problem, ask, askJson, send } from "./api.js";
import { el, say, show } from "./dom.js";
import { clearFault, sentence, showFault } from "./fault.js";
import { jobPicture } from "./job_picture.js";
import { bodyOf } from "./origin.js";
import { resultCard } from "./result_card.js";
import { bytes, count, duration, goal, nameOf, phase, rounded } from "./words.js";

const WORDS = { pause: "Pause", resume: "Resume", cancel: "Cancel", retry: "Try again", remove: "Remove" };
const UNDONE = { pause: "Not paused", resume: "Not resumed", cancel: "Not canceled", retry: "Not begun", remove: "Not removed" };
/** "Really remove?" is asked for so long. */
const DOUBT_MS = 6000;
const FINISHED = ["succeeded", "failed", "canceled"];

/** Return the row of a job; `told` is asked to run its video again, and hears what was handed in or removed here. */
export function jobRow(first, told) {
  let job = first;
  let card = null;
  const parts = built(first);
  const fault = parts.fault;
  const picture = jobPicture(parts.row, { onPieces, onPicture });

  for (const [verb, button] of Object.entries(parts.buttons)) button.addEventListener("click", () => act(verb));
  parts.watch.addEventListener("click", toggle);

  async function act(verb) {
    if (verb === "remove" && !isSure()) return;
    clearFault(fault);
    try {
      if (verb === "remove") await removed();
      else if (verb === "retry" && !isKept(job)) await handInAgain();
      else update(await askJson(`/v1/jobs/${job.id}/${verb}`, { method: "POST" }));
    } catch (problem) {
      showFault(fault, problem.code === "offline" ? undone(verb) : problem);
    }
  }

  /** A result is gone for good: the first press asks, the second does it. */
  function isSure() {
    const button = parts.buttons.remove;
    const words = (text) => {
      say(button, text);
      button.setAttribute("aria-label", `${text}: ${nameOf(job)}`);
    };
    if (button.textContent !== WORDS.remove) return true;
    words("Really remove?");
    setTimeout(() => words(WORDS.remove), DOUBT_MS);
    return false;
  }

  async function removed() {
    await ask(`/v1/jobs/${job.id}`, { method: "DELETE" });
    told.onRemoved(job.id);
  }

  /** The server has tidied the job's copy away; the video itself may still be there. */
  async function handInAgain() {
    const body = bodyOf(job.id);
    try {
      told.onHandedIn(await send("/v1/jobs", body), body);
    } catch (problem) {
      if (problem.status !== 404) throw problem;
      throw new Problem({
        title: "That video is no longer here",
        detail: "the server removes videos that wait too long",
        hint: "Choose it again above, and start.",
      });
    }
  }

  function toggle() {
    const open = parts.watch.getAttribute("aria-expanded") !== "true";
    parts.watch.setAttribute("aria-expanded", String(open));
    show(parts.result, open);
    sayWatch(parts, job);
    if (open) {
      card ??= resultCard(parts.result, told.onAgain);
      card.show(job);
    } else {
      card?.hide();
    }
  }

  function update(news) {
    job = counted(news, job);
    redraw();
    if (!parts.result.hidden) card?.show(job);
    picture.hear(job);
  }

  function redraw() {
    draw(parts, job);
    if (parts.watch.hidden && parts.watch.getAttribute("aria-expanded") === "true") toggle();
  }

  /** What is finished of a job can be watched, also when the job has ended without a result. */
  function onPieces(number) {
    const isNews = parts.hasPieces !== number > 0;
    parts.hasPieces = number > 0;
    if (isNews) redraw();
  }

  function onPicture(url) {
    parts.picture.src = url;
    show(parts.frame);
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
      picture.close();
      parts.row.remove();
    },
  };
}

/** Return news without a count that falls back: after a pause the finished pieces are counted only by and by. */
function counted(news, known) {
  const { frames_done: before, frames_total: total } = known.progress;
  const isAnew = FINISHED.includes(known.state) && !FINISHED.includes(news.state);
  if (isAnew || news.progress.frames_done >= before) return news;
  return { ...news, progress: { ...news.progress, frames_done: before, frames_total: news.progress.frames_total || total } };
}

/** Tell whether the server still has what it would need to try a job again: of an upload only after what may pass. */
function isKept(job) {
  return job.asked.source !== "upload" || (job.state === "failed" && Boolean(job.fault?.retryable));
}

/** The failure of a button while the server does not answer: nobody presses it again but the person. */
function undone(verb) {
  return new Problem({
    title: UNDONE[verb],
    detail: "the server does not answer",
    hint: "Press again when it does; jobs that were started go on.",
    code: "offline",
  });
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
    hasPieces: false, // as far as anybody has looked
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

function sayWatch(parts, job) {
  const isOpen = parts.watch.getAttribute("aria-expanded") === "true";
  say(parts.watch, isOpen ? "Hide" : job.state === "succeeded" ? "Result" : "Watch");
}

function drawButtons(parts, job) {
  const can = {
    pause: ["queued", "running"].includes(job.state) && !job.wanted,
    resume: job.state === "paused" || job.wanted === "paused",
    cancel: ["queued", "running", "paused"].includes(job.state) && job.wanted !== "canceled",
    retry: ["failed", "canceled"].includes(job.state) && (isKept(job) || bodyOf(job.id) !== null),
    remove: FINISHED.includes(job.state),
  };
  const hadFocus = document.activeElement;
  for (const [verb, button] of Object.entries(parts.buttons)) show(button, can[verb]);
  const hasBegun = ["running", "paused", "queued"].includes(job.state) && job.progress.frames_done > 0;
  show(parts.watch, job.state === "succeeded" || hasBegun || parts.hasPieces);
  sayWatch(parts, job);
  // A button that has gone would leave the keyboard at the top of the page.
  if (hadFocus instanceof HTMLElement && parts.row.contains(hadFocus) && hadFocus.hidden) parts.row.focus();
}

// Shows what will happen before anything does: how long, how big, how much memory and disk, with how much certainty.

import { send } from "./api.js";
import { byId, el, say, show } from "./dom.js";
import { answersAreRight } from "./field_marks.js";
import { clearFault, sentence, showFault } from "./fault.js";
import { bytes, duration, error, size } from "./words.js";

/** Typing is not asking: the last change waits so long for another. */
const PATIENCE_MS = 250;

const BASIS = {
  measured: "measured on pieces of this video",
  calibrated: "from what this machine did before",
  rough: "a rough guess",
  unknown: "",
};

/**
 * Return the strip.
 * @param {function(): (object|null)} asked what is asked for now, null where there is no source.
 * @param {function(object|null, boolean=): void} onPlan is told each new plan, null where there is none; then, whether
 *   that is because there can be none.
 */
export function planStrip(asked, onPlan) {
  const place = byId("plan-fault");
  let timer = 0;
  let running = null;

  function stop() {
    clearTimeout(timer);
    running?.abort();
  }

  /** Say that a plan waits for an answer. */
  function wait() {
    onPlan(null, true);
    busy(false, false);
    clearFault(place);
    show(byId("plan-body"), false);
    say(byId("plan-busy"), "An answer cannot be taken as it is: what is wrong stands beside it.");
  }

  async function plan(measure) {
    stop();
    const body = asked();
    if (!body) return;
    running = new AbortController();
    const { signal } = running;
    busy(true, measure);
    try {
      const view = await send("/v1/plan", { ...body, measure }, { signal });
      clearFault(place);
      showPlan(view);
      onPlan(view);
    } catch (problem) {
      if (signal.aborted) return; // a newer question is under way
      showFault(place, problem, problem.retryable ? () => plan(measure) : null, { takesFocus: measure });
      show(byId("plan-body"), false);
      onPlan(null, true);
    }
    busy(false, false);
  }

  byId("measure").addEventListener("click", () => plan(true));
  return {
    /** Ask again soon; what was said until now is of something else, and nothing can be started with it. */
    refresh() {
      stop();
      onPlan(null);
      if (!answersAreRight()) {
        wait();
        return;
      }
      busy(true, false);
      timer = setTimeout(() => plan(false), PATIENCE_MS);
    },
    /** Say nothing any more: there is no source. */
    close() {
      stop();
      onPlan(null);
      busy(false, false);
      show(byId("plan-body"), false);
      clearFault(place);
    },
  };
}

function busy(isBusy, measure) {
  byId("plan").setAttribute("aria-busy", String(isBusy));
  byId("measure").disabled = isBusy;
  say(byId("plan-busy"), !isBusy ? "" : measure ? "Measuring three pieces of the video…" : "Working it out…");
}

function showPlan(view) {
  const { estimate } = view;
  show(byId("plan-body"));
  say(byId("plan-target"), size(view.target));
  byId("plan-figures").replaceChildren(
    figure("Time", duration(estimate.seconds), error(estimate.seconds_error), BASIS[estimate.basis.seconds]),
    figure("Size", bytes(estimate.byte_count), error(estimate.byte_count_error), BASIS[estimate.basis.byte_count]),
    figure("Memory", bytes(estimate.memory_bytes), "", ""),
    figure("Disk space needed", bytes(estimate.disk_bytes), "", ""),
  );
  const [reason, numbers] = reasonOf(view);
  say(byId("plan-model"), reason);
  say(byId("plan-engine"), [numbers, view.engine, view.precision, view.device].filter(Boolean).join(" · "));
  byId("plan-warnings").replaceChildren(
    ...view.warnings.map((one) => el("li", { class: "notice notice--warning note" }, sentence(one.detail))),
  );
}

/** Return which model was taken and why, in plain words, and the numbers that stand in brackets behind them. */
function reasonOf({ model, model_because: because }) {
  if (because === "asked for") return [`Model ${model}, as you chose.`, ""];
  const [, words, numbers] = /^([^(]*?)(?: \((.*)\))?$/.exec(because) ?? [null, because, ""];
  return [sentence(`Model ${model}: ${words}`), numbers ?? ""];
}

function figure(name, value, plusMinus, basis) {
  const more = [plusMinus, basis].filter(Boolean).join(", ");
  return el(
    "div",
    { class: "figure" },
    el("dt", {}, name),
    el("dd", {}, el("span", { class: "value" }, value), more && el("span", { class: "note" }, more)),
  );
}

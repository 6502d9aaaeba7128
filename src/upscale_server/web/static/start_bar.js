// On a phone the plan stands screens below the answers: what it comes to stays in sight, and can be started from there.

import { byId, say, show } from "./dom.js";
import { showFirstMark } from "./field_marks.js";
import { bytes, duration } from "./words.js";

/** Return the bar; it is there while the answers are seen and Start itself is not. A wide page has no use for it. */
export function startBar(onStart) {
  const bar = byId("start-bar");
  const inSight = {};
  let state = "busy";
  const look = new IntersectionObserver((changes) => {
    for (const one of changes) inSight[one.target.id] = one.isIntersecting;
    show(bar, Boolean(inSight.workbench) && !inSight.start);
  });
  look.observe(byId("workbench"));
  look.observe(byId("start"));
  bar.addEventListener("click", () => (state === "planned" ? onStart() : toReason()));

  return {
    /** Say what the plan comes to; null while it is worked out. */
    tell(view) {
      state = view ? "planned" : "busy";
      bar.disabled = !view;
      say(bar, view ? words(view.estimate) : "Working it out…");
    },
    /** Say that there is no plan, and let the reason be found. */
    tellFault() {
      state = "fault";
      bar.disabled = false;
      say(bar, "Not like this: see why");
    },
  };
}

/** An answer that cannot be taken is marked at its field; what the server refused is said beside the plan. */
function toReason() {
  const refused = byId("plan-fault").querySelector("[role=alert]");
  if (!refused) return showFirstMark();
  byId("plan").scrollIntoView();
  return refused.focus();
}

function words({ seconds, byte_count: size }) {
  const figures = [seconds !== null && duration(seconds), size !== null && bytes(size)];
  return ["Start", ...figures.filter(Boolean)].join(" · ");
}

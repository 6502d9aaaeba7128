// Tells how the server is: whether a job would be done now, by what, and how many wait. It asks while somebody looks.

import { ask, askJson } from "./api.js";
import { byId, say, show } from "./dom.js";
import { sentence } from "./fault.js";
import { several } from "./words.js";

const LOOK_MS = 8000;
const SOON_MS = 1500;

/** Begin to look; `onReady` is called when the server has become ready, also for the first time. */
export function systemBar(onReady) {
  let isReady = false;
  let isLost = false;

  async function look() {
    const health = await healthNow();
    const was = isReady;
    isReady = health.state === "ready";
    isLost = health.state === "lost";
    byId("server").dataset.state = health.state;
    say(byId("server-words"), health.words);
    show(byId("offline"), isLost);
    if (isReady && !was) onReady();
    if (isReady) await details();
    schedule(isReady ? LOOK_MS : SOON_MS);
  }

  let timer = 0;
  function schedule(milliseconds) {
    clearTimeout(timer);
    timer = setTimeout(() => (document.hidden ? schedule(milliseconds) : look()), milliseconds);
  }

  window.addEventListener("online", () => schedule(0));
  window.addEventListener("offline", () => schedule(0));
  window.addEventListener("upscale-key", () => schedule(0));
  look();
  return { lookSoon: () => schedule(0) };
}

async function healthNow() {
  try {
    await ask("/health");
    return { state: "ready", words: "Ready" };
  } catch (problem) {
    if (problem.code === "offline") return { state: "lost", words: "No connection" };
    if (problem.code === "models_not_loaded") return { state: "loading", words: "Loading the models…" };
    return { state: "refused", words: sentence(problem.message) };
  }
}

/** Say by what jobs are done and how many there are; this needs the key, and without it stays unsaid. */
async function details() {
  const quietly = { asksForKey: false };
  try {
    const [stats, queue] = await Promise.all([askJson("/stats", quietly), askJson("/queue", quietly)]);
    const waiting = queue.queued_tasks ? `, ${queue.queued_tasks} waiting` : "";
    const running = queue.active_tasks ? `${several(queue.active_tasks, "job", "jobs")} running` : "Ready";
    say(byId("server-words"), queue.active_tasks || queue.queued_tasks ? `${running}${waiting}` : "Ready");
    const proof = [stats.model && `${stats.model} on ${stats.engine}`, stats.device];
    const workers = several(stats.workers_ready, "worker", "workers");
    say(byId("machine"), [...proof.filter(Boolean), workers].join(" · "));
    if (stats.version) say(byId("version"), `upscale-server ${stats.version}`);
  } catch (problem) {
    if (problem.status !== 401) return; // said elsewhere: the next question that a person asks tells it
    byId("server").dataset.state = "refused";
    say(byId("server-words"), "Needs a key");
  }
}

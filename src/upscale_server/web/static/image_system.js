// Tells how the image server is: whether a picture would be enlarged now, by what, and how many wait.

import { ask, askJson } from "./api.js";
import { byId, say, show } from "./dom.js";
import { sentence } from "./fault.js";

const LOOK_MS = 8000;
const SOON_MS = 1500;

/**
 * Begin to look, as long as somebody looks at the page.
 * @param {function(object): void} onInfo is told what `/info` says, when it is first known.
 */
export function lookAfterServer(onInfo) {
  let timer = 0;
  let isKnown = false;

  async function look() {
    const { state, words } = await healthNow();
    byId("server").dataset.state = state;
    say(byId("server-words"), words);
    show(byId("offline"), state === "lost");
    if (state === "ready" && !isKnown) isKnown = await details(onInfo);
    schedule(state === "ready" ? LOOK_MS : SOON_MS);
  }

  function schedule(milliseconds) {
    clearTimeout(timer);
    timer = setTimeout(() => (document.hidden ? schedule(milliseconds) : look()), milliseconds);
  }

  window.addEventListener("online", () => schedule(0));
  window.addEventListener("upscale-key", () => schedule(0));
  look();
}

async function healthNow() {
  try {
    const { running, waiting } = await askJson("/health");
    const busy = waiting ? `${running} at work, ${waiting} waiting` : `${running} at work`;
    return { state: "ready", words: running ? busy : "Ready" };
  } catch (problem) {
    if (problem.code === "offline") return { state: "lost", words: "No connection" };
    if (problem.code === "models_not_loaded") return { state: "loading", words: "Loading the models…" };
    return { state: "refused", words: sentence(problem.message) };
  }
}

/** Say by what pictures are enlarged; this needs the key, and without it stays unsaid. */
async function details(onInfo) {
  try {
    const info = await (await ask("/info")).json();
    const place = info.details.device ?? info.gpu ?? info.device;
    const processes = info.workers > 1 ? `${info.workers} processes` : "";
    const proof = [info.model && `${info.model} on ${info.engine}`, place, processes];
    say(byId("machine"), proof.filter(Boolean).join(" · "));
    say(byId("version"), `upscale-server ${info.version}`);
    onInfo(info);
    return true;
  } catch {
    return false; // said elsewhere: the next question that a person asks tells it
  }
}

// Tells how the image server is: whether a picture would be enlarged now, by what, and how many wait.

import { askJson } from "./api.js";
import { byId, say, show } from "./dom.js";
import { sentence } from "./fault.js";

const LOOK_MS = 8000;
const SOON_MS = 1500;
const NEEDS_KEY = "Ready, and needs a key";

/**
 * Begin to look, as long as somebody looks at the page.
 * @param {function(object): void} onInfo is told what `/info` says, when it is first known.
 */
export function lookAfterServer(onInfo) {
  let timer = 0;
  let isKnown = false;
  let isRefused = false; // a person gave no key: nobody is asked again before they give one

  async function look() {
    const { state, words } = await healthNow();
    byId("server").dataset.state = state;
    say(byId("server-words"), state === "ready" && isRefused ? NEEDS_KEY : words);
    show(byId("offline"), state === "lost");
    if (state === "ready" && !isKnown && !isRefused) await learn();
    schedule(state === "ready" ? LOOK_MS : SOON_MS);
  }

  async function learn() {
    try {
      onInfo(await details());
      isKnown = true;
    } catch (problem) {
      isRefused = problem.status === 401;
      if (isRefused) say(byId("server-words"), NEEDS_KEY);
    }
  }

  function schedule(milliseconds) {
    clearTimeout(timer);
    timer = setTimeout(() => (document.hidden ? schedule(milliseconds) : look()), milliseconds);
  }

  window.addEventListener("online", () => schedule(0));
  window.addEventListener("upscale-key", () => {
    isRefused = false;
    schedule(0);
  });
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

/** Say by what pictures are enlarged; a person is asked for the key where one is needed. */
async function details() {
  const info = await askJson("/info");
  const place = info.details.device ?? info.gpu ?? info.device;
  const processes = info.workers > 1 ? `${info.workers} processes` : "";
  const proof = [info.model && `${info.model} on ${info.engine}`, place, processes];
  say(byId("machine"), proof.filter(Boolean).join(" · "));
  say(byId("version"), `upscale-server ${info.version}`);
  return info;
}

// Puts the video server's page together: what is done in one part is told to the others here and nowhere else.

import { Problem, askJson, send, upload } from "./api.js";
import { byId, say, show } from "./dom.js";
import { setUpDrop } from "./drop.js";
import { clearFault, showFault } from "./fault.js";
import { goalForm } from "./goal.js";
import { setUpKey } from "./key.js";
import { planStrip } from "./plan_strip.js";
import { previewPanel } from "./preview_panel.js";
import { showProbe } from "./probe_card.js";
import { jobQueue } from "./queue.js";
import { keep, kept } from "./session.js";
import { systemBar } from "./system_bar.js";
import { uploadBar } from "./upload_bar.js";

/** Which source a job of this tab was made from. */
const FROM = "source-of-";

const state = { source: null, models: [], plan: null, isLoading: false };

setUpKey();
const bar = uploadBar();
const goal = goalForm(() => plan.refresh());
const plan = planStrip(asked, planned);
const preview = previewPanel(asked);
const queue = jobQueue({ onState: streamState, onAgain: again });
const server = systemBar(ready);
setUpDrop({ onFile, onAddress });
byId("another").addEventListener("click", another);
byId("start").addEventListener("click", start);
window.addEventListener("upscale-key", ready);
window.addEventListener("hashchange", reopen);
reopen();

// ---------------------------------------------------------------------------------------------------- the source

/** Return what is asked for now, null where there is no source. */
function asked() {
  return state.source && { source_id: state.source.id, ...goal.fields() };
}

function onFile(file, together = 1) {
  const words = together > 1 ? `One video at a time: of ${together} files the first is taken.` : "";
  say(byId("source-note"), words);
  show(byId("source-note"), together > 1);
  const path = `/v1/sources?file_name=${encodeURIComponent(file.name)}`;
  return take(file.name, (signal) => upload(path, file, { signal, onProgress: bar.progress }), file);
}

function onAddress(address) {
  return take(address, (signal) => send("/v1/sources", { payload_url: address }, { signal }), null);
}

/** Bring a source to the server; `bring` does it, `file` is there where it lies on this side. */
async function take(name, bring, file) {
  if (state.isLoading) return;
  state.isLoading = true;
  const fault = byId("source-fault");
  clearFault(fault);
  show(byId("drop"), false);
  try {
    const signal = bar.begin(name, file ? "Sending…" : "The server fetches it and looks into it…");
    open(await bring(signal), file);
    byId("probe").focus();
  } catch (problem) {
    show(byId("drop"), !state.source);
    if (problem.name !== "AbortError") showFault(fault, problem);
    else byId("choose").focus();
  } finally {
    state.isLoading = false;
    bar.end();
  }
}

/** Show a source and what can be done with it. */
function open(source, file = null) {
  state.source = source;
  history.replaceState(null, "", `#source=${source.id}`);
  show(byId("drop"), false);
  byId("intro").classList.add("only-heard"); // the heading stays for those who walk by headings
  show(byId("probe"));
  show(byId("workbench"));
  showProbe(source);
  goal.suggest(source.probe);
  preview.open(source, file);
  plan.refresh();
}

/** Put the source away; a job that was made from it has its own. */
function another() {
  state.source = null;
  state.plan = null;
  history.replaceState(null, "", location.pathname);
  for (const id of ["probe", "workbench"]) show(byId(id), false);
  show(byId("drop"));
  byId("intro").classList.remove("only-heard");
  clearFault(byId("source-fault"));
  byId("choose").focus();
}

/** Come back to the source that the address names, after a reload. */
async function reopen() {
  const [, id] = /^#source=([\w-]+)$/.exec(location.hash) ?? [];
  if (!id || state.source?.id === id) return;
  try {
    open(await askJson(`/v1/sources/${id}`));
  } catch (problem) {
    if (problem.status !== 404) {
      showFault(byId("source-fault"), problem, reopen);
      return;
    }
    history.replaceState(null, "", location.pathname);
    showFault(byId("source-fault"), new Problem({
      title: "That video is no longer here",
      detail: "the server has removed it, as it does with videos that wait too long",
      hint: "Choose it again. Jobs that were started from it are not touched.",
    }), null, { takesFocus: false });
  }
}

// ---------------------------------------------------------------------------------------------------- plan and start

function planned(view) {
  state.plan = view;
  byId("start").disabled = !view;
  if (view) preview.offer(state.models, view.model);
}

async function start() {
  const button = byId("start");
  const fault = byId("start-fault");
  clearFault(fault);
  button.disabled = true;
  try {
    const body = asked();
    const job = await send("/v1/jobs", body);
    keep(FROM + job.id, body.source_id);
    queue.handedIn(job);
    server.lookSoon();
  } catch (problem) {
    showFault(fault, problem, problem.retryable ? start : null);
  }
  button.disabled = !state.plan;
}

/** Fill the form with what a job was asked for; its video is opened again where it is still here. */
async function again(job) {
  const id = kept(FROM + job.id);
  try {
    if (id && state.source?.id !== id) open(await askJson(`/v1/sources/${id}`));
  } catch {
    // gone by now: the person is asked for it below
  }
  goal.take(job.asked);
  if (state.source) {
    plan.refresh();
    byId("goal").scrollIntoView();
    byId("goal").focus();
    return;
  }
  byId("choose").focus();
  say(byId("spoken"), "Choose the video again; the settings of that job are filled in.");
}

// ---------------------------------------------------------------------------------------------------- the server

/** Ask for what only a server that is ready can tell. */
async function ready() {
  try {
    state.models = (await askJson("/v1/models")).models;
    goal.showModels(state.models);
    if (state.source) plan.refresh();
    else reopen();
  } catch {
    // the plan will tell why where a person asks for one
  }
}

function streamState(now) {
  byId("queue").setAttribute("aria-busy", String(now !== "open"));
  if (now === "lost") server.lookSoon();
}

// Puts the video server's page together: what is done in one part is told to the others here and nowhere else.

import { Problem, askJson, send, upload } from "./api.js";
import { byId, say, show } from "./dom.js";
import { setUpDrop } from "./drop.js";
import { clearFault, clearSilence, showFault } from "./fault.js";
import { answersAreRight } from "./field_marks.js";
import { goalForm } from "./goal.js";
import { setUpKey } from "./key.js";
import { modelsOnceTold } from "./models.js";
import { bodyOf, keepBody } from "./origin.js";
import { planStrip } from "./plan_strip.js";
import { previewPanel } from "./preview_panel.js";
import { showProbe } from "./probe_card.js";
import { jobQueue } from "./queue.js";
import { keep, kept } from "./session.js";
import { startBar } from "./start_bar.js";
import { systemBar } from "./system_bar.js";
import { uploadBar } from "./upload_bar.js";
import { nameOf } from "./words.js";

/** What a person chose for a source: a reload does not ask again. */
const GOAL_OF = "goal-of-";

const ONE_AT_A_TIME = "One video at a time: wait until that one is here, or cancel it.";

/** `wish` is what the next video is to become, where an earlier job is to be run again. */
const state = { source: null, models: [], plan: null, isLoading: false, opening: "", wish: null };
let asking = new AbortController(); // for the models

setUpKey();
const bar = uploadBar();
const goal = goalForm(chosen);
const plan = planStrip(asked, planned);
const preview = previewPanel(asked);
const foot = startBar(start);
const queue = jobQueue({ onState: streamState, onTurn: () => server.lookSoon(), onAgain: again, onHandedIn: handedIn });
const server = systemBar(ready);
setUpDrop({ onFile, onAddress, mayOffer });
byId("another").addEventListener("click", another);
byId("start").addEventListener("click", start);
window.addEventListener("upscale-key", ready);
window.addEventListener("hashchange", reopen);
reopen();

// ---------------------------------------------------------------------------------------------------- the source

/** Return what is asked for now, null where there is no source, or an answer that cannot be taken. */
function asked() {
  return state.source && answersAreRight() ? { source_id: state.source.id, ...goal.fields() } : null;
}

/** Say beside the place for a video what is to be known of it; nothing takes it away. */
function note(words) {
  say(byId("source-note"), words);
  show(byId("source-note"), Boolean(words));
}

/** An answer of the form has changed. */
function chosen() {
  if (state.source) keep(GOAL_OF + state.source.id, JSON.stringify(goal.fields()));
  plan.refresh();
  preview.changed();
}

function onFile(file, together = 1) {
  if (!state.isLoading) note(together > 1 ? `One video at a time: of ${together} files the first is taken.` : "");
  const path = `/v1/sources?file_name=${encodeURIComponent(file.name)}`;
  return take(file.name, (signal) => upload(path, file, { signal, onProgress: bar.progress }), file);
}

function onAddress(address) {
  if (!state.isLoading) note("");
  return take(address, (signal) => send("/v1/sources", { payload_url: address }, { signal }), null);
}

/** Tell whether a dropped address may be filled in, and what a person does then. */
function mayOffer() {
  note(state.isLoading ? ONE_AT_A_TIME : "Press Fetch, and the server fetches it.");
  return !state.isLoading;
}

/** Bring a source to the server; `bring` does it, `file` is there where it lies on this side. */
async function take(name, bring, file) {
  if (state.isLoading) return note(ONE_AT_A_TIME);
  state.isLoading = true;
  const fault = byId("source-fault");
  clearFault(fault);
  show(byId("drop"), false);
  try {
    const signal = bar.begin(name, file ? "Sending…" : "The server fetches it and looks into it…");
    const source = await bring(signal);
    note("");
    open(source, file);
    byId("probe").focus();
  } catch (problem) {
    show(byId("drop"), !state.source || !file); // an address may be mended and tried again
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
  const wish = state.wish ?? JSON.parse(kept(GOAL_OF + source.id) ?? "null");
  if (wish) goal.take(wish);
  state.wish = null;
  preview.open(source, file);
  plan.refresh();
}

/** Put the source away; a job that was made from it has its own. */
function another() {
  state.source = null;
  plan.close();
  preview.close();
  note("");
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
  if (!id || state.source?.id === id || state.opening === id || state.isLoading) return;
  state.opening = id;
  try {
    const source = await askJson(`/v1/sources/${id}`);
    clearFault(byId("source-fault"));
    if (location.hash === `#source=${id}`) open(source);
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
  } finally {
    state.opening = "";
  }
}

// ---------------------------------------------------------------------------------------------------- plan and start

function planned(view, isRefused = false) {
  state.plan = view;
  byId("start").disabled = !view;
  if (isRefused) foot.tellFault();
  else foot.tell(view);
  if (view && state.models.length) preview.offer(state.models, view.model);
}

async function start() {
  const button = byId("start");
  if (button.disabled) return; // pressed twice, or the bar of a phone after it
  const fault = byId("start-fault");
  clearFault(fault);
  button.disabled = true;
  try {
    const body = asked();
    const job = await send("/v1/jobs", body);
    handedIn(job, body);
  } catch (problem) {
    showFault(fault, problem, problem.retryable ? start : null);
  }
  button.disabled = !state.plan;
}

function handedIn(job, body) {
  keepBody(job.id, body);
  queue.handedIn(job);
  server.lookSoon();
}

/** Fill the form with what a job was asked for; its video is opened again where it is still here. */
async function again(job) {
  const id = bodyOf(job.id)?.source_id;
  let source = state.source;
  try {
    if (!id || source?.id !== id) source = id ? await askJson(`/v1/sources/${id}`) : null;
  } catch {
    source = null; // gone by now: the person is asked for it below
  }
  if (!source) {
    another(); // another video that happens to be open is not the one that was meant
    state.wish = job.asked;
    note(`Choose “${nameOf(job)}” again, or another video: the settings of that job are filled in then.`);
    return;
  }
  if (source === state.source) goal.take(job.asked);
  else state.wish = job.asked;
  if (source !== state.source) open(source);
  chosen();
  byId("goal").scrollIntoView();
  byId("goal").focus();
}

// ---------------------------------------------------------------------------------------------------- the server

/** Ask for what only a server that is ready can tell. */
function ready() {
  clearSilence();
  lookForModels();
  if (state.source) plan.refresh();
  else reopen();
}

async function lookForModels() {
  asking.abort();
  asking = new AbortController();
  const models = await modelsOnceTold(asking.signal);
  if (!models) return; // a newer question is under way, or one is asked with a key
  state.models = models;
  goal.showModels(models);
  if (state.source) plan.refresh(); // the model that was wished may be there, or not
}

function streamState(now) {
  byId("queue").setAttribute("aria-busy", String(now !== "open"));
  if (now === "lost") server.lookSoon();
}

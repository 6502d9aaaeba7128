// Keeps the list of jobs as the server tells it, newest first; a reload asks the server, so that nothing is lost.

import { announcer } from "./announce.js";
import { askJson } from "./api.js";
import { byId, show } from "./dom.js";
import { follow } from "./events.js";
import { clearFault, showFault } from "./fault.js";
import { jobRow } from "./job_row.js";

const TITLE = document.title;
/** Older jobs that are asked for at once. */
const PAGE = 100;

const olderThan = (cursor) => `/v1/jobs?limit=${PAGE}&after=${encodeURIComponent(cursor)}`;

/**
 * Follow the jobs.
 * @param {{onState: function("open"|"lost"|"locked"): void, onTurn: function(): void, onAgain: function(object): void,
 *   onHandedIn: function(object, object): void}} told
 */
export function jobQueue(told) {
  const list = byId("queue");
  const rows = new Map();
  const announce = announcer();
  const states = new Map();
  let older = null; // after which job the list goes on, null where it does not
  let looking = new AbortController(); // again, at older jobs that are shown
  byId("older-show").addEventListener("click", showOlder);

  function take(job, isNews) {
    const known = rows.get(job.id);
    if (known && known.version > job.version) return; // an older word that came later
    if (known) known.update(job);
    else add(job);
    if (isNews) announce(job);
    if (isNews && states.get(job.id) !== job.state) told.onTurn();
    states.set(job.id, job.state);
    title();
  }

  function add(job) {
    const row = jobRow(job, { ...told, onRemoved: remove });
    rows.set(job.id, row);
    const after = [...rows.values()].filter((other) => other.createdAt < job.created_at);
    const next = after.sort((a, b) => (a.createdAt < b.createdAt ? 1 : -1))[0];
    list.insertBefore(row.element, next?.element ?? null);
    count();
  }

  /** Take a row away; the next one, or the heading, has the keyboard then where this one had it. */
  function remove(id) {
    const element = rows.get(id)?.element;
    const near = element?.nextElementSibling ?? element?.previousElementSibling ?? byId("queue-title");
    const hadFocus = element?.contains(document.activeElement);
    rows.get(id)?.close();
    rows.delete(id);
    states.delete(id);
    if (hadFocus) near.focus();
    count();
    title();
  }

  function snapshot(told) {
    looking.abort();
    looking = new AbortController();
    const last = stretch(told, null);
    goesOn(told.next);
    count();
    lookAgain(last, looking.signal);
  }

  /** Take a part of the list, older than `from`, as the server tells it, and return how far it goes: what it does not
   * name is there no more; what is older than its last job it does not know of. */
  function stretch({ jobs, next }, from) {
    const named = new Set(jobs.map((job) => job.id));
    const last = next ? (jobs.at(-1)?.created_at ?? from) : "";
    const isInside = (row) => last !== null && row.createdAt > last && (from === null || row.createdAt < from);
    for (const [id, row] of [...rows]) if (!named.has(id) && isInside(row)) remove(id);
    for (const job of jobs) take(job, false);
    return last;
  }

  /** Ask once more for the older jobs that are shown: nobody told what became of them before a new stream began. */
  async function lookAgain(last, signal) {
    let seen = last;
    try {
      while (older && [...rows.values()].some((row) => seen === null || row.createdAt < seen)) {
        const page = await askJson(olderThan(older), { signal, asksForKey: false });
        signal.throwIfAborted();
        seen = stretch(page, seen);
        goesOn(page.next);
      }
    } catch {
      // they stay as they were; "Show older jobs" goes on from where this ended
    }
  }

  /** Say that the list is not all there is. */
  function goesOn(next) {
    older = next ?? null;
    show(byId("older"), Boolean(older));
  }

  async function showOlder() {
    const button = byId("older-show");
    button.disabled = true; // a second press would ask for the same ones
    clearFault(byId("older-fault"));
    try {
      const page = await askJson(olderThan(older));
      for (const job of page.jobs) take(job, false);
      rows.get(page.jobs[0]?.id)?.focus();
      goesOn(page.next);
    } catch (problem) {
      showFault(byId("older-fault"), problem);
    }
    button.disabled = false;
  }

  function count() {
    show(byId("queue-empty"), !rows.size);
  }

  /** Tell in the tab how far the job that runs is: whoever waits looks elsewhere. */
  function title() {
    const running = [...rows.values()].filter((row) => row.part !== null);
    const newest = running.sort((a, b) => (a.createdAt < b.createdAt ? 1 : -1))[0];
    document.title = newest ? `${Math.floor(100 * newest.part)} % · Upscale` : TITLE;
  }

  follow("/v1/events", {
    onState: told.onState,
    onEvent(name, data) {
      if (name === "jobs") snapshot(data);
      if (name === "job") take(data, true);
      if (name === "removed") remove(data.id);
    },
  });

  return {
    /** Show a job that was just handed in, before the stream tells of it, and bring a person to it. */
    handedIn(job) {
      take(job, true);
      rows.get(job.id).focus();
    },
  };
}

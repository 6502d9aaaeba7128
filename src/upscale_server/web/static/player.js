// <growing-player>: plays a job's result while it is being made, by its small copies, and the result itself when there
// is one that this browser can play. It is never merely black: there is a picture or a sentence.
//
// Property: `job`, as the server tells it; set it again whenever it has changed, null to let go.

import { ask, askJson, blobUrl } from "./api.js";
import { el, say } from "./dom.js";
import { GrowingSource } from "./growing_source.js";
import { build, copyWords, drawPieces, emptyWords, gapWords, isOver } from "./player_parts.js";
import { openResult } from "./real_result.js";

const STYLE = new URL("player.css", import.meta.url);
const LOOK_MS = 2500;
/** Pieces that are fetched around the place that is seen, seconds before and after it: some 80 MB at most. */
const FETCHED = [60, 600];

export class GrowingPlayer extends HTMLElement {
  #job = null;
  #pieces = [];
  #view = {};
  #source = null;
  #stop = null;
  #kind = "";
  #why = "";
  #isPlaced = false;
  #broken = new Set();
  #parts = build({ placed: () => this.#placed(), skip: () => this.#skip(), newest: () => this.#newest() });

  constructor() {
    super();
    const style = el("link", { rel: "stylesheet", href: STYLE });
    this.attachShadow({ mode: "open" }).append(style, this.#parts.root);
    this.#parts.video.addEventListener("error", () => this.#whileWhole());
  }

  get job() {
    return this.#job;
  }

  set job(job) {
    const changed = job?.id !== this.#job?.id;
    const ended = isOver(job) && !isOver(this.#job);
    this.#job = job;
    if (changed) this.#begin();
    else if (ended) this.#look();
  }

  disconnectedCallback() {
    this.#letGo();
  }

  connectedCallback() {
    if (this.#job && !this.#stop) this.#begin();
  }

  #begin() {
    this.#letGo();
    if (!this.#job || !this.isConnected) return;
    this.#stop = new AbortController(); // with it ends whatever is asked for this job
    this.#draw();
    this.#look();
  }

  #letGo() {
    clearTimeout(this.#stop?.timer);
    this.#stop?.abort();
    this.#stop = null;
    this.#empty();
    this.#pieces = [];
    this.#view = {};
    this.#broken.clear();
    this.#why = "";
  }

  #empty() {
    const { video } = this.#parts;
    this.#source?.close();
    this.#source = null;
    this.#kind = "";
    this.#isPlaced = false;
    if (video.src.startsWith("blob:")) URL.revokeObjectURL(video.src);
    if (video.poster) URL.revokeObjectURL(video.poster);
    video.removeAttribute("poster");
    video.removeAttribute("src");
    video.load();
  }

  /** Ask what there is, now and, as long as more will come, again and again; one question at a time. */
  async #look() {
    const stop = this.#stop;
    clearTimeout(stop.timer);
    if (stop.busy) {
      stop.again = true;
      return;
    }
    stop.busy = true;
    let failed = false;
    try {
      await this.#ask(stop.signal);
    } catch (problem) {
      failed = true; // the next look may find more
      if (!stop.signal.aborted) say(this.#parts.words, problem.message);
    }
    stop.busy = false;
    if (stop.signal.aborted) return;
    const more = failed || stop.again || !isOver(this.#job) || this.#pieces.some((one) => this.#isWanted(one));
    if (more) stop.timer = setTimeout(() => stop.signal.aborted || this.#look(), stop.again ? 0 : LOOK_MS);
    stop.again = false;
  }

  async #ask(signal) {
    if (this.#job.state === "succeeded" && this.#kind !== "whole" && !this.#why) await this.#showWhole(signal);
    if (this.#kind !== "whole") await this.#showCopies(signal);
    if (!signal.aborted) this.#draw();
  }

  async #showWhole(signal) {
    const { video } = this.#parts;
    const [seconds, played] = [video.currentTime, !video.paused];
    const { url, why } = await openResult(this.#job, signal);
    if (signal.aborted) return URL.revokeObjectURL(url); // of another address it is nothing
    this.#why = why;
    if (why) return;
    this.#empty();
    this.#kind = "whole";
    video.src = url;
    video.currentTime = seconds;
    if (played) video.play().catch(() => {}); // a browser may forbid sound without a press
  }

  /** A result that began well may still hold what this browser cannot decode. */
  #whileWhole() {
    if (this.#kind !== "whole" || !this.#stop) return;
    this.#empty();
    this.#why = "Your browser stopped in the middle of the result";
    this.#look();
  }

  async #showCopies(signal) {
    this.#view = await this.#list(signal);
    this.#pieces = this.#view.segments;
    if (!this.#pieces.length) return;
    if (!this.#source && GrowingSource.can(this.#view.mime)) {
      this.#source = new GrowingSource(this.#parts.video, this.#view.mime, this.#view.duration_seconds);
      this.#kind = "copies";
    }
    if (this.#source) await this.#load(signal);
    else await this.#showPicture(signal);
  }

  async #list(signal) {
    try {
      return await askJson(`/v1/jobs/${this.#job.id}/segments`, { signal });
    } catch (problem) {
      if (problem.status === 404) return { segments: [] }; // a server that makes no copies
      throw problem;
    }
  }

  /** A browser that plays no pieces shows a picture of the newest one. */
  async #showPicture(signal) {
    const { video } = this.#parts;
    const picture = await blobUrl(`/v1/jobs/${this.#job.id}/thumbnail.jpg`, signal);
    if (video.poster) URL.revokeObjectURL(video.poster);
    video.poster = picture;
  }

  /** Fetch what is missing around the place that is seen: first what comes after it. */
  async #load(signal) {
    const stop = this.#stop;
    if (stop.loading) return;
    stop.loading = true;
    try {
      for (let next = this.#next(); next && !signal.aborted; next = this.#next()) await this.#fetch(next, signal);
    } finally {
      stop.loading = false;
    }
    const all = this.#pieces.length === this.#view.total && this.#pieces.every((one) => this.#source?.has(one));
    if (all && isOver(this.#job)) this.#source.finish();
  }

  async #fetch(piece, signal) {
    try {
      const reply = await ask(piece.url, { signal });
      await this.#source.add(piece, await reply.arrayBuffer());
      if (!this.#source.has(piece)) this.#broken.add(piece.index);
    } catch (problem) {
      if (signal.aborted) throw problem;
      this.#broken.add(piece.index); // the others are shown
    }
    this.#draw();
  }

  #next() {
    const { currentTime } = this.#parts.video;
    const wanted = this.#pieces.filter((one) => this.#isWanted(one));
    return wanted.find((one) => endOf(one) > currentTime) ?? wanted[0];
  }

  #isWanted(piece) {
    const { currentTime } = this.#parts.video;
    if (!this.#source || this.#broken.has(piece.index) || this.#source.has(piece)) return false;
    return endOf(piece) > currentTime - FETCHED[0] && piece.start_seconds < currentTime + FETCHED[1];
  }

  /** The place has moved, or is stuck: say so where nothing is there, and fetch what belongs there. */
  #placed() {
    if (this.#kind === "copies" && this.#stop) this.#load(this.#stop.signal).catch(() => {});
    this.#draw();
  }

  #skip() {
    const { video } = this.#parts;
    const range = this.#source?.ranges().find(([start]) => start > video.currentTime) ?? this.#source?.ranges()[0];
    if (range) video.currentTime = range[0] + 0.001;
  }

  #newest() {
    const last = this.#pieces.at(-1);
    if (last) this.#parts.video.currentTime = last.start_seconds + 0.001;
  }

  #draw() {
    const { root, video, cover, message, skip, words, newest, pieces } = this.#parts;
    const copies = this.#kind === "copies";
    const isEmpty = !this.#kind || (copies && !this.#source.ranges().length);
    const isGap = copies && !isEmpty && !this.#toFirst() && !this.#source.holds(video.currentTime);
    root.hidden = !this.#job;
    cover.hidden = !(isGap || isEmpty);
    cover.classList.toggle("clear", isEmpty && Boolean(video.poster));
    root.classList.toggle("bare", isEmpty && !video.poster); // a few words need no room for a film
    skip.hidden = !isGap;
    video.controls = !isEmpty;
    const canGrow = this.#pieces.length === 0 || copies;
    say(message, isEmpty ? emptyWords(this.#job, this.#why, canGrow) : isGap ? gapWords(this.#job, video.currentTime) : "");
    const isTold = copies && this.#pieces.length > 0;
    say(words, isTold ? copyWords(this.#job, this.#why, { count: this.#pieces.length, total: this.#view.total }) : "");
    newest.hidden = !copies || isOver(this.#job) || this.#pieces.length < 2;
    pieces.hidden = !isTold || !this.#view.duration_seconds || isOver(this.#job);
    if (!pieces.hidden) drawPieces(pieces, this.#pieces, this.#view);
    if (this.#view.width) video.style.aspectRatio = `${this.#view.width} / ${this.#view.height}`;
  }

  /** Go to the first piece that is there, which need not be the first of all, as long as nobody has gone anywhere. */
  #toFirst() {
    const { video } = this.#parts;
    if (video.played.length || video.seeking || this.#isPlaced || this.#source.holds(video.currentTime)) return false;
    video.currentTime = this.#source.ranges()[0][0] + 0.001;
    this.#isPlaced = true;
    return true;
  }
}

function endOf(piece) {
  return piece.start_seconds + piece.seconds;
}

customElements.define("growing-player", GrowingPlayer);

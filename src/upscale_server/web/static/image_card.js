// One picture of the list: waiting, on its way, compared, or at its end. It sends when it is told to and keeps what came.

import { Problem } from "./api.js";
import "./compare.js";
import { el, say, show } from "./dom.js";
import { clearFault, showFault } from "./fault.js";
import { beforeOf } from "./image_before.js";
import { enlarge } from "./image_send.js";
import { refusal, resultName, warning } from "./image_words.js";
import { bytes, duration, size as typeset } from "./words.js";

/** The longest side of the small picture: a list of whole photos would fill the memory. */
const THUMB_PIXELS = 192;

export class PictureCard {
  #file;
  #asked;
  #told;
  #size = null;
  #made = null;
  #urls = {};
  #state = "ended";
  #stop = new AbortController(); // ends what is under way: each run and each comparison has its own
  #clock = 0;
  #isCompared = false;
  #isSaved = false;
  #parts;

  /**
   * @param {File} file the picture.
   * @param {Object<string, string>} asked what is asked of it.
   * @param {{info: function(): object|null, again: function(PictureCard): void, left: function(PictureCard): void,
   *   removed: function(PictureCard): void}} told what the page knows; `left`: it waits no longer.
   */
  constructor(file, asked, told) {
    this.#file = file;
    this.#asked = asked;
    this.#told = told;
    this.#parts = this.#build();
  }

  get root() {
    return this.#parts.root;
  }

  get name() {
    return this.#file.name;
  }

  /** Wait until `run` is called; until then it can be canceled and removed, and nothing of it is sent. */
  wait(asked = this.#asked) {
    this.#asked = asked;
    clearFault(this.#parts.fault);
    this.#close();
    this.#at("waiting");
    this.#say(`${bytes(this.#file.size)} · waiting`);
  }

  /** Send it and show what comes; resolves when it has ended, however it did. */
  async run() {
    if (this.#state !== "waiting") return;
    this.#stop = new AbortController();
    this.#letGo();
    this.#at("sending");
    try {
      await this.#look();
      this.#made = await enlarge(this.#file, this.#asked, {
        signal: this.#stop.signal,
        onProgress: (part) => this.#sent(part),
        onWait: (seconds) => this.#say(`The server is busy: asked again in ${seconds} s`, 0),
      });
      this.#keep();
    } catch (problem) {
      if (problem.name === "AbortError") this.#say("Canceled");
      else this.#failed(problem);
    }
    this.#at("ended");
  }

  /** Whether leaving the page would lose something: work, or a result that nobody has saved. */
  get wouldBeLost() {
    return this.#state === "waiting" || this.#state === "sending" || (this.#made !== null && !this.#isSaved);
  }

  /** Whether the comparison is open. */
  get isOpen() {
    return !this.#parts.result.hidden;
  }

  /** Open or close the comparison, where there is one; what it takes is made when it is opened first. */
  async open(isOpen = true) {
    if (!this.#made || this.#state === "waiting") return;
    if (!isOpen) {
      this.#close();
      return;
    }
    show(this.#parts.result);
    this.#drawCompare();
    if (this.#isCompared || this.#state === "comparing") return;
    this.#stop = new AbortController();
    this.#at("comparing");
    try {
      await this.#compare(this.#stop.signal);
      this.#isCompared = true;
    } catch (problem) {
      this.#close(); // so that it can be opened again
      if (problem.name !== "AbortError") showFault(this.#parts.fault, problem);
    }
    this.#at("ended");
    this.#tell();
  }

  /** Bring a keyboard here. */
  focus() {
    this.#parts.title.focus();
  }

  #build() {
    const { name } = this.#file;
    const title = el("h3", { class: "picture-name", tabindex: "-1" }, name || "Picture");
    const thumb = el("img", { class: "picture-thumb", alt: "", hidden: true });
    const words = el("p", { class: "note number" });
    const bar = el("div", { class: "bar", role: "progressbar", "aria-label": `Progress of ${name}`, hidden: true });
    const button = (text, act, more = "") => el("button", { type: "button", class: `button button--small ${more}`, onclick: act }, text);
    const cancel = button("Cancel", () => this.#cancel());
    const again = button("Again", () => this.#told.again(this));
    again.title = "Enlarge it again with the choices above";
    const compare = button("Compare", () => this.open(!this.isOpen));
    const remove = button("Remove", () => this.#remove(), "button--quiet");
    const saved = () => (this.#isSaved = true);
    const download = el("a", { class: "button button--primary button--small", hidden: true, onclick: saved }, "Download");
    const fault = el("div", { hidden: true });
    const notes = el("ul", { class: "stack stack--tight notes", "aria-label": "What to know about it" });
    const view = el("compare-view");
    const result = el("div", { hidden: true }, view);
    const head = el("div", { class: "picture-head" }, thumb, el("div", { class: "picture-words" }, title, words));
    head.append(el("div", { class: "row picture-actions" }, download, compare, again, cancel, remove));
    const root = el("li", { class: "card stack" }, head, bar, fault, notes, result);
    return { root, title, thumb, words, bar, cancel, again, compare, remove, download, fault, notes, view, result };
  }

  /** What the browser can open of it tells its size, and whether it would be refused. */
  async #look() {
    if (!this.#size) {
      const bitmap = await createImageBitmap(this.#file).catch(() => null); // TIFF and others are sent all the same
      if (bitmap) await this.#measure(bitmap);
    }
    const info = this.#told.info();
    const why = info && refusal(this.#file, this.#size, Number(this.#asked.upscale), info);
    if (why) throw new Problem({ title: "Too large", detail: why, status: 413 });
  }

  /** A decoded photo takes 200 MB: its size and a small picture are kept, and it is let go at once. */
  async #measure(bitmap) {
    const { width, height } = bitmap;
    this.#size = { width, height };
    const part = Math.min(1, THUMB_PIXELS / Math.max(width, height));
    const small = { width: Math.max(1, Math.round(width * part)), height: Math.max(1, Math.round(height * part)) };
    const canvas = Object.assign(document.createElement("canvas"), small);
    canvas.getContext("2d").drawImage(bitmap, 0, 0, small.width, small.height);
    bitmap.close();
    const thumb = await new Promise((resolve) => canvas.toBlob(resolve));
    if (!thumb) return;
    this.#parts.thumb.src = this.#kept(thumb, "thumb");
    show(this.#parts.thumb);
  }

  #sent(part) {
    if (part < 1) {
      this.#say(`Sending, ${Math.round(100 * part)} %`, part);
      return;
    }
    const began = performance.now();
    const tell = () => this.#say(`Enlarging, ${duration(Math.floor((performance.now() - began) / 1000))}`, null);
    clearInterval(this.#clock);
    this.#clock = setInterval(tell, 1000);
    tell();
  }

  /** Take in what came. */
  #keep() {
    const { blob, warnings } = this.#made;
    const { download, notes } = this.#parts;
    download.href = this.#kept(blob, "result");
    download.download = resultName(this.#file, this.#asked, blob.type);
    notes.append(...warnings.map((code) => el("li", { class: "notice notice--warning note" }, warning(code))));
    this.#tell();
  }

  #tell() {
    const { blob, size, model, seconds } = this.#made;
    const from = this.#size ? `${this.#size.width} × ${this.#size.height} → ` : "";
    const time = seconds === null ? "" : ` in ${duration(seconds)}`;
    this.#say(`${from}${typeset(size)} · ${bytes(blob.size)} · ${model}${time}`);
  }

  async #compare(signal) {
    const { view, notes } = this.#parts;
    const after = { name: "result", label: this.#made.model, kind: "image", blobUrl: this.#urls.result };
    view.items = [after];
    if (!this.#size) {
      const note = "Your browser cannot show the source, so there is nothing to compare the result with.";
      notes.append(el("li", { class: "notice note" }, note));
      return;
    }
    this.#say("Enlarging the source the plain way, to compare", null);
    const source = await createImageBitmap(this.#file);
    try {
      const { label, blob } = await beforeOf(source, Number(this.#asked.upscale), signal);
      signal.throwIfAborted();
      const before = { name: "before", label, kind: "image", blobUrl: this.#kept(blob ?? this.#file, "before") };
      view.items = [before, after];
    } finally {
      source.close();
    }
  }

  #failed(problem) {
    this.#say("Not enlarged");
    showFault(this.#parts.fault, problem, problem.retryable ? () => this.#told.again(this) : null);
  }

  /** Go over to another state ("waiting", "sending", "comparing", "ended"); what is offered follows from it. */
  #at(state) {
    this.#state = state;
    const { bar, cancel, again, compare, remove, download } = this.#parts;
    const focused = document.activeElement;
    const isEnded = state === "ended";
    const isThere = this.#made !== null && (isEnded || state === "comparing");
    clearInterval(this.#clock);
    show(bar, state === "sending" || state === "comparing");
    show(cancel, !isEnded);
    show(again, isEnded);
    show(remove, isEnded || state === "waiting");
    show(download, isThere);
    show(compare, isThere);
    if (focused?.hidden && this.#parts.root.contains(focused)) this.focus(); // the button that was pressed is gone
  }

  #cancel() {
    if (this.#state !== "waiting") {
      this.#stop.abort();
      return;
    }
    this.#told.left(this);
    if (this.#made) this.#tell(); // it was to be done again: what there was stays
    else this.#say("Canceled");
    this.#at("ended");
  }

  /** Say how it is; `part` of the bar is done, null where nobody knows how much. */
  #say(text, part = 0) {
    const { words, bar } = this.#parts;
    say(words, text);
    bar.classList.toggle("bar--busy", part === null);
    bar.style.setProperty("--done", String(part ?? 1));
    if (part === null) bar.removeAttribute("aria-valuenow");
    else bar.setAttribute("aria-valuenow", String(Math.round(100 * part)));
  }

  #drawCompare() {
    this.#parts.compare.setAttribute("aria-expanded", String(this.isOpen));
    say(this.#parts.compare, this.isOpen ? "Hide" : "Compare");
  }

  #kept(blob, what) {
    this.#revoke(what);
    this.#urls[what] = URL.createObjectURL(blob);
    return this.#urls[what];
  }

  #close() {
    show(this.#parts.result, false);
    this.#drawCompare();
  }

  /** Let go of what was made. */
  #letGo() {
    this.#made = null;
    this.#isCompared = this.#isSaved = false;
    this.#parts.view.items = [];
    this.#parts.notes.replaceChildren();
    this.#parts.download.removeAttribute("href");
    for (const what of ["before", "result"]) this.#revoke(what);
    this.#close();
  }

  #revoke(what) {
    URL.revokeObjectURL(this.#urls[what]);
    delete this.#urls[what];
  }

  #remove() {
    this.#stop.abort();
    this.#letGo();
    this.#revoke("thumb");
    this.#told.removed(this);
  }
}

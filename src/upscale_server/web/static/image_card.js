// One picture of the list: on its way, at work, done or refused. It sends when it is told to and keeps what came.

import { Problem } from "./api.js";
import "./compare.js";
import { el, say, show } from "./dom.js";
import { clearFault, showFault } from "./fault.js";
import { beforeOf } from "./image_before.js";
import { enlarge } from "./image_send.js";
import { refusal, resultName, warning } from "./image_words.js";
import { bytes, duration, size as typeset } from "./words.js";

export class PictureCard {
  #file;
  #asked;
  #told;
  #bitmap = null;
  #made = null;
  #urls = {};
  #stop = new AbortController();
  #clock = 0;
  #isCompared = false;
  #parts;

  /**
   * @param {File} file the picture.
   * @param {Object<string, string>} asked what is asked of it.
   * @param {{info: function(): object|null, again: function(PictureCard): void, removed: function(PictureCard): void}} told
   */
  constructor(file, asked, told) {
    this.#file = file;
    this.#asked = asked;
    this.#told = told;
    this.#parts = this.#build();
    say(this.#parts.words, `${bytes(file.size)} · waiting`);
  }

  get root() {
    return this.#parts.root;
  }

  get name() {
    return this.#file.name;
  }

  /** Send it and show what comes; resolves when it has ended, however it did. */
  async run(asked = this.#asked) {
    this.#asked = asked;
    this.#stop = new AbortController();
    this.#letGo();
    clearFault(this.#parts.fault);
    this.#busy(true);
    try {
      await this.#look();
      this.#made = await enlarge(this.#file, asked, {
        signal: this.#stop.signal,
        onProgress: (part) => this.#sent(part),
        onWait: (seconds) => this.#say(`The server is busy: asked again in ${seconds} s`, 0),
      });
      this.#done();
    } catch (problem) {
      if (problem.name === "AbortError") this.#say("Canceled");
      else this.#failed(problem);
    }
    this.#busy(false);
  }

  /** Whether the comparison is open, or there is none to open. */
  get isOpen() {
    return !this.#parts.result.hidden;
  }

  /** Open or close the comparison, where there is one; what it takes is made when it is opened first. */
  async open(isOpen = true) {
    if (!this.#made) return;
    show(this.#parts.result, isOpen);
    this.#drawCompare();
    if (!isOpen || this.#isCompared) return;
    this.#isCompared = true;
    this.#busy(true);
    try {
      await this.#compare();
    } catch (problem) {
      this.#isCompared = false;
      if (problem.name !== "AbortError") this.#failed(problem);
    }
    this.#busy(false);
    this.#done();
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
    const cancel = button("Cancel", () => this.#stop.abort());
    const again = button("Again", () => this.#told.again(this));
    again.title = "Enlarge it again with the choices above";
    const compare = button("Compare", () => this.open(!this.isOpen));
    const remove = button("Remove", () => this.#remove(), "button--quiet");
    const download = el("a", { class: "button button--primary button--small", hidden: true }, "Download");
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
    if (!this.#bitmap) {
      this.#bitmap = await createImageBitmap(this.#file).catch(() => null); // TIFF and others are sent all the same
      if (this.#bitmap) this.#parts.thumb.src = this.#kept(this.#file, "thumb");
      show(this.#parts.thumb, Boolean(this.#bitmap));
    }
    const info = this.#told.info();
    const why = info && refusal(this.#file, this.#bitmap, Number(this.#asked.upscale), info);
    if (why) throw new Problem({ title: "Too large", detail: why, status: 413 });
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

  #done() {
    const { blob, size, model, seconds, warnings } = this.#made;
    const { download, notes, words } = this.#parts;
    download.href = this.#kept(blob, "result");
    download.download = resultName(this.#file, this.#asked, blob.type);
    const from = this.#bitmap ? `${this.#bitmap.width} × ${this.#bitmap.height} → ` : "";
    say(words, `${from}${typeset(size)} · ${bytes(blob.size)} · ${model}${seconds === null ? "" : ` in ${duration(seconds)}`}`);
    if (!notes.children.length) {
      notes.append(...warnings.map((code) => el("li", { class: "notice notice--warning note" }, warning(code))));
    }
  }

  async #compare() {
    const { view, notes } = this.#parts;
    const after = { name: "result", label: this.#made.model, kind: "image", blobUrl: this.#urls.result };
    view.items = [after];
    if (!this.#bitmap) {
      const note = "Your browser cannot show the source, so there is nothing to compare the result with.";
      notes.append(el("li", { class: "notice note" }, note));
      return;
    }
    this.#say("Enlarging the source the plain way, to compare", null);
    const { label, blob } = await beforeOf(this.#bitmap, Number(this.#asked.upscale), this.#stop.signal);
    const before = { name: "before", label, kind: "image", blobUrl: this.#kept(blob ?? this.#file, "before") };
    view.items = [before, after];
  }

  #failed(problem) {
    this.#say("Not enlarged");
    showFault(this.#parts.fault, problem, problem.retryable ? () => this.#told.again(this) : null);
  }

  #busy(isBusy) {
    const { bar, cancel, again, compare, remove, download } = this.#parts;
    clearInterval(this.#clock);
    show(bar, isBusy);
    show(cancel, isBusy);
    show(again, !isBusy);
    show(remove, !isBusy);
    show(download, this.#made !== null);
    show(compare, this.#made !== null);
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
    URL.revokeObjectURL(this.#urls[what]);
    this.#urls[what] = URL.createObjectURL(blob);
    return this.#urls[what];
  }

  #letGo() {
    this.#made = null;
    this.#isCompared = false;
    this.#parts.view.items = [];
    this.#parts.notes.replaceChildren();
    show(this.#parts.result, false);
    this.#drawCompare();
  }

  #remove() {
    this.#stop.abort();
    this.#letGo();
    for (const url of Object.values(this.#urls)) URL.revokeObjectURL(url);
    this.#bitmap?.close();
    this.#told.removed(this);
  }
}

// `<compare-view>`: pictures or videos of one thing, compared by a line, side by side, by holding or by switching.
// It fetches nothing but the addresses that it is given, plays nothing by itself and never with sound.
//
// Properties: `items` ([{name, label, kind: "image" | "video", url | blobUrl, facts}], the first is the "before"),
// `frameTimes` (seconds of each frame; equal for all videos), `mode`, `chosen`, `position`, `zoom`; to read: `frame`.
// Event: `compare-change`.

import { Clock } from "./compare_clock.js";
import { listenToHeld, listenToKeys, listenToPointers } from "./compare_input.js";
import { Panes } from "./compare_panes.js";
import { MODES, ZOOMS, build, choices, drawn, factTable } from "./compare_parts.js";
import { el, say } from "./dom.js";

const STYLE = new URL("compare.css", import.meta.url);

export class CompareView extends HTMLElement {
  #items = [];
  #times = [];
  #view = { mode: "wipe", chosen: 1, position: 50, zoom: 0, centre: { x: 0.5, y: 0.5 }, holding: false };
  #clock = new Clock(() => this.#tick());
  #sizes = new ResizeObserver(() => this.#draw());
  #parts;
  #panes;

  constructor() {
    super();
    const wishes = this.#wishes();
    this.#parts = build(wishes);
    this.#panes = new Panes(this.#parts.stage, () => this.#draw());
    listenToPointers(this.#parts.stage, wishes);
    listenToKeys(this.#parts.root, this.#parts.stage, wishes);
    listenToHeld(this.#parts.held, wishes.hold);
    // A linked sheet, because the page's policy allows no other; nothing is shown unstyled until it is there.
    const shown = () => (this.#parts.root.hidden = false);
    this.#parts.root.hidden = true;
    const style = el("link", { rel: "stylesheet", href: STYLE, onload: shown, onerror: shown });
    this.attachShadow({ mode: "open" }).append(style, this.#parts.root);
  }

  connectedCallback() {
    this.#sizes.observe(this.#parts.frame);
    document.addEventListener("fullscreenchange", this.#draw);
    this.#parts.full.hidden = !document.fullscreenEnabled;
    this.#draw();
  }

  disconnectedCallback() {
    this.#sizes.disconnect();
    document.removeEventListener("fullscreenchange", this.#draw);
    this.#clock.pause();
  }

  get items() {
    return this.#items;
  }

  set items(items) {
    this.#clock.close();
    this.#clock = new Clock(() => this.#tick());
    this.#clock.times = this.#times;
    this.#items = [...items];
    this.#panes.items = this.#items;
    for (const video of this.#panes.videos) video?.addEventListener("ended", () => this.#clock.ended(video));
    this.#parts.choice.replaceChildren(...choices(this.#items, (place) => this.#choose(place)));
    const table = factTable(this.#items);
    this.#parts.facts.hidden = !table;
    this.#parts.facts.replaceChildren(...(table ? [table] : []));
    const chosen = Math.max(0, Math.min(this.#view.chosen, this.#items.length - 1));
    this.#view = { ...this.#view, chosen: this.#view.mode === "switch" ? chosen : Math.max(chosen, 1) };
    this.#draw();
    this.#tick();
  }

  get frameTimes() {
    return this.#times;
  }

  set frameTimes(seconds) {
    this.#times = [...(seconds ?? [])];
    this.#clock.times = this.#times;
    this.#tick();
  }

  get mode() {
    return this.#view.mode;
  }

  set mode(mode) {
    if (!MODES.some(([name]) => name === mode)) throw new RangeError(`mode is ${mode}; expected wipe, side, hold or switch`);
    const chosen = mode === "switch" ? this.#view.chosen : Math.max(this.#view.chosen, 1);
    this.#see({ mode, chosen, holding: false });
  }

  get chosen() {
    return this.#view.chosen;
  }

  set chosen(place) {
    this.#choose(place);
  }

  get position() {
    return this.#view.position;
  }

  set position(position) {
    this.#see({ position: Math.min(Math.max(position, 0), 100) });
  }

  get zoom() {
    return this.#view.zoom;
  }

  set zoom(zoom) {
    this.#see({ zoom });
  }

  /** The number of the frame that is shown, from 0; -1 where nobody knows the times of the frames. */
  get frame() {
    return this.#clock.frame;
  }

  get playing() {
    return this.#clock.playing;
  }

  play() {
    return this.#clock.play();
  }

  pause() {
    return this.#clock.pause();
  }

  /** Go so many frames on; negative: back. Resolves when all videos show the frame. */
  step(frames) {
    return this.#clock.step(frames);
  }

  #wishes() {
    return {
      view: () => ({ ...this.#view, zoomed: this.#view.zoom !== 0 }),
      mode: (mode) => (this.mode = mode),
      zoom: (zoom) => (this.zoom = zoom),
      zoomBy: (steps) => this.#zoomBy(steps),
      zoomAt: (place) => this.#zoomAt(place),
      position: (position) => (this.position = position),
      pan: (x, y) => this.#pan(x, y),
      hold: (holding) => this.#hold(holding),
      choose: (place) => this.#choose(place),
      play: () => (this.#clock.playing ? this.pause() : this.play()),
      step: (frames) => this.step(frames),
      scrub: (value) => this.#scrub(value),
      loop: () => {
        this.#clock.loop = !this.#clock.loop;
        this.#tick();
      },
      full: () => this.#full(),
    };
  }

  #scrub(value) {
    this.#tellPlace(this.#times.length ? this.#frameWords(value) : secondsWords(value));
    return this.#times.length ? this.#clock.seekFrame(value) : this.#clock.seekTime(value);
  }

  #see(change) {
    this.#view = { ...this.#view, ...change };
    this.#draw();
    this.dispatchEvent(new CustomEvent("compare-change", { detail: { ...this.#view, frame: this.frame } }));
  }

  #choose(place) {
    const least = this.#view.mode === "switch" || this.#items.length < 2 ? 0 : 1;
    if (place >= least && place < this.#items.length) this.#see({ chosen: place });
  }

  #hold(holding) {
    if (this.#view.mode === "hold" && holding !== this.#view.holding) this.#see({ holding });
  }

  #pan(x, y) {
    const scale = this.#panes.scale(this.#view);
    const { width, height } = this.#panes.size;
    if (!width) return;
    const { centre } = this.#view;
    this.#see({ centre: { x: centre.x + x / (width * scale), y: centre.y + y / (height * scale) } });
  }

  #zoomBy(steps) {
    const place = ZOOMS.findIndex(([zoom]) => zoom === this.#view.zoom) + steps;
    if (ZOOMS[place]) this.zoom = ZOOMS[place][0];
  }

  #zoomAt({ x, y, width, height }) {
    const before = this.#panes.scale(this.#view);
    const zoom = this.#view.zoom ? 0 : 1;
    const room = this.#view.mode === "side" ? { width: width / 2, height } : { width, height };
    const off = { x: (x % room.width) - room.width / 2, y: (y % room.height) - room.height / 2 };
    const { centre } = this.#view;
    const size = this.#panes.size;
    const to = { x: centre.x + off.x / (size.width * before), y: centre.y + off.y / (size.height * before) };
    this.#see({ zoom, centre: zoom ? to : { x: 0.5, y: 0.5 } });
  }

  async #full() {
    if (document.fullscreenElement) await document.exitFullscreen();
    else await this.requestFullscreen?.();
  }

  #draw = () => {
    this.#panes.draw(this.#view);
    this.#view.centre = this.#panes.kept(this.#view);
    this.#panes.draw(this.#view);
    const videos = this.#panes.videos;
    this.#clock.use(this.#panes.needed(this.#view).map((place) => videos[place]).filter(Boolean));
    this.#drawControls();
  };

  #drawControls() {
    const { mode, chosen, position, zoom, holding } = this.#view;
    const parts = this.#parts;
    const two = this.#items.length > 1;
    const [before, after] = [this.#items[0]?.label ?? "", this.#items[chosen]?.label ?? ""];
    press(parts.modes, (one) => one.dataset.value === mode);
    press(parts.zooms, (one) => Number(one.dataset.value) === zoom);
    [...parts.choice.children].forEach((one, place) => {
      one.setAttribute("aria-pressed", String(place === chosen));
      one.hidden = mode !== "switch" && place === 0;
    });
    parts.modes.hidden = !two;
    parts.choice.hidden = !two || (mode !== "switch" && this.#items.length < 3);
    parts.wipe.hidden = parts.line.hidden = !two || mode !== "wipe";
    parts.held.hidden = !two || mode !== "hold";
    parts.held.textContent = holding ? before : `Hold to see “${before}”`;
    parts.wipe.value = position;
    parts.wipe.setAttribute("aria-valuetext", `${Math.round(position)} % ${before}, the rest ${after}`);
    parts.line.style.left = `${position}%`;
    parts.stage.dataset.mode = two ? mode : "one";
    parts.stage.dataset.touch = zoom ? "pan" : mode;
    parts.stage.setAttribute("aria-label", two ? `${before} and ${after}` : after || before || "Picture");
    say(parts.said, two ? sentence(this.#view, before, after) : "");
  }

  #tick() {
    const parts = this.#parts;
    const clock = this.#clock;
    const known = clock.frames > 0;
    parts.player.hidden = !this.#panes.videos.some(Boolean);
    if (parts.player.hidden) return;
    const word = clock.playing ? "Pause" : "Play";
    if (parts.play.title !== word) {
      parts.play.replaceChildren(drawn(clock.playing ? "pause" : "play"));
      parts.play.title = word;
      parts.play.setAttribute("aria-label", word);
    }
    parts.loop.setAttribute("aria-pressed", String(clock.loop));
    parts.back.disabled = parts.forward.disabled = !known;
    parts.scrub.max = known ? clock.frames - 1 : clock.duration;
    parts.scrub.step = known ? 1 : "any";
    parts.scrub.value = known ? clock.frame : clock.time;
    const seconds = secondsWords(clock.time);
    const words = known ? this.#frameWords(clock.frame) : seconds;
    parts.number.textContent = known ? `${clock.frame + 1} / ${clock.frames}` : seconds;
    parts.number.title = known ? `${words}, ${seconds}` : words;
    if (!clock.playing) this.#tellPlace(words); // a slider that says every frame lets nobody hear anything else
  }

  #tellPlace(words) {
    this.#parts.scrub.setAttribute("aria-valuetext", words);
  }

  #frameWords(place) {
    return `Frame ${place + 1} of ${this.#clock.frames}`;
  }
}

function secondsWords(seconds) {
  return `${seconds.toFixed(2)} s`;
}

function press(group, is) {
  for (const one of group.children) one.setAttribute("aria-pressed", String(is(one)));
}

function sentence({ mode, chosen, holding }, before, after) {
  if (mode === "wipe") return `Left of the line: ${before}. Right of it: ${after}.`;
  if (mode === "side") return `${before} beside ${after}.`;
  if (mode === "switch") return `Seen: ${chosen === 0 ? before : after}. The number keys switch.`;
  return holding ? `Seen: ${before}.` : `Seen: ${after}. Press the picture or hold Space to see ${before}.`;
}

customElements.define("compare-view", CompareView);

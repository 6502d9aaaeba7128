// Lays the compared pictures over or beside each other, cut, magnified and moved alike, so that pixels stay on pixels.
// It decides neither the mode nor the place: it draws the view that it is given.

import { el } from "./dom.js";

/** From here on single pixels are meant to be seen: a smoothed enlargement would hide them. */
const PIXELS_FROM = 3;
/** A tiny picture fills the stage up to this enlargement only. */
const MOST_FIT = 4;

/**
 * What is to be seen.
 * @typedef {object} View
 * @property {"wipe"|"side"|"hold"|"switch"} mode how two pictures are compared.
 * @property {number} chosen which one is compared with the first.
 * @property {number} position where the wipe stands, per cent from the left.
 * @property {number} zoom pixels of the screen for one of the picture; 0 fits it in.
 * @property {{x: number, y: number}} centre what is in the middle, as parts of the picture.
 * @property {boolean} holding whether the first one is held up in front.
 */

export class Panes {
  #stage;
  #panes = [];
  #columns = true;
  #onChange;

  /**
   * @param {HTMLElement} stage what the panes stand in.
   * @param {function(): void} onChange is called when a picture's size is known, or that it cannot be shown.
   */
  constructor(stage, onChange) {
    this.#stage = stage;
    this.#onChange = onChange;
  }

  /** The videos, by the places of their items; null where an item is a picture. */
  get videos() {
    return this.#panes.map((one) => (one.item.kind === "video" ? one.layer : null));
  }

  /** The size that all are drawn at: that of the largest, so that a small "before" lies exactly under its result. */
  get size() {
    const sizes = this.#panes.map(({ layer }) => ({
      width: layer.naturalWidth ?? layer.videoWidth,
      height: layer.naturalHeight ?? layer.videoHeight,
    }));
    return sizes.reduce((most, one) => (one.width > most.width ? one : most), { width: 0, height: 0 });
  }

  /** Show other items; what was there is let go. */
  set items(items) {
    for (const { root, layer } of this.#panes) {
      layer.removeAttribute("src");
      layer.load?.();
      root.remove();
    }
    this.#panes = items.map((item, place) => this.#pane(item, place));
    this.#stage.prepend(...this.#panes.map((one) => one.root));
  }

  /**
   * Return the places of the items that a view shows, that which it is about first.
   * @param {View} view what is to be seen.
   * @returns {number[]}
   */
  shown({ mode, chosen, holding }) {
    if (this.#panes.length < 2) return this.#panes.map((_, place) => place);
    if (mode === "switch") return [chosen];
    return mode === "hold" ? [holding ? 0 : chosen] : [chosen, 0];
  }

  /**
   * Return the places whose videos must run: also those that can be there at the next key press.
   * @param {View} view what is to be seen.
   * @returns {number[]}
   */
  needed(view) {
    if (this.#panes.length < 2) return this.#panes.map((_, place) => place);
    if (view.mode !== "switch") return [view.chosen, 0];
    return [view.chosen, ...this.#panes.keys()].filter((place, at, all) => all.indexOf(place) === at);
  }

  /**
   * Draw a view.
   * @param {View} view what is to be seen.
   */
  draw(view) {
    const size = this.size;
    const side = view.mode === "side" && this.#panes.length > 1;
    this.#columns = !side || this.#stage.parentElement.clientWidth >= 640 || size.height > size.width;
    if (size.width) {
      const across = side && this.#columns ? 2 : 1;
      const down = side && !this.#columns ? 2 : 1;
      this.#stage.style.aspectRatio = `${size.width * across} / ${size.height * down}`;
    }
    const shown = this.shown(view);
    this.#panes.forEach((pane, place) => {
      pane.root.classList.toggle("away", !shown.includes(place));
      this.#cut(pane.root, place, view);
    });
    const scale = this.scale(view);
    shown.forEach((place) => this.#put(this.#panes[place], size, scale, view.centre));
  }

  /** Return how many CSS pixels one of the picture's takes. */
  scale({ zoom, mode }) {
    const pixel = 1 / devicePixelRatio; // 1:1 means one pixel of the screen, not one of the page
    if (zoom) return zoom * pixel;
    const room = this.#room(mode);
    const { width, height } = this.size;
    return width ? Math.min(room.width / width, room.height / height, MOST_FIT * pixel) : 1;
  }

  /**
   * Return a centre that leaves no room beside the picture: where all of it fits in, its middle.
   * @param {View} view what is to be seen.
   * @returns {{x: number, y: number}}
   */
  kept(view) {
    const { width, height } = this.size;
    const room = this.#room(view.mode);
    const scale = this.scale(view);
    const within = (part, most, whole) => {
      const half = most / 2 / (whole * scale || 1);
      return half >= 0.5 ? 0.5 : Math.min(Math.max(part, half), 1 - half);
    };
    return { x: within(view.centre.x, room.width, width), y: within(view.centre.y, room.height, height) };
  }

  #room(mode) {
    const { clientWidth: width, clientHeight: height } = this.#stage;
    if (mode !== "side" || this.#panes.length < 2) return { width, height };
    return this.#columns ? { width: width / 2, height } : { width, height: height / 2 };
  }

  /** A pane is cut and not its picture: where it is cut does not move when the picture does. */
  #cut(root, place, { mode, position }) {
    const two = this.#panes.length > 1;
    const first = place === 0;
    root.classList.toggle("first", first);
    root.style.clipPath = "";
    root.style.inset = "0";
    if (two && mode === "wipe") {
      root.style.clipPath = first ? `inset(0 ${100 - position}% 0 0)` : `inset(0 0 0 ${position}%)`;
    } else if (two && mode === "side" && this.#columns) {
      root.style.inset = first ? "0 50% 0 0" : "0 0 0 50%";
    } else if (two && mode === "side") {
      root.style.inset = first ? "0 0 50% 0" : "50% 0 0 0";
    }
  }

  #put({ root, layer }, { width, height }, scale, centre) {
    const pixel = 1 / devicePixelRatio;
    const at = (room, part, whole) => Math.round((room / 2 - part * whole * scale) / pixel) * pixel;
    layer.style.width = `${width * scale}px`;
    layer.style.height = `${height * scale}px`;
    layer.style.left = `${at(root.clientWidth, centre.x, width)}px`;
    layer.style.top = `${at(root.clientHeight, centre.y, height)}px`;
    layer.classList.toggle("pixels", scale * devicePixelRatio >= PIXELS_FROM);
  }

  #pane(item, place) {
    const video = item.kind === "video";
    const layer = video
      ? el("video", { class: "layer", playsinline: true, preload: "auto", "aria-label": item.label })
      : el("img", { class: "layer", alt: item.label, draggable: "false", decoding: "async" });
    if (video) layer.muted = true; // the attribute counts only in markup
    const note = el("p", { class: "note" }, "Loading…");
    const root = el("div", { class: "pane" }, layer, note, el("span", { class: "badge" }, item.label));
    layer.addEventListener(video ? "loadeddata" : "load", () => {
      note.remove();
      this.#onChange();
    });
    layer.addEventListener("error", () => {
      if (!layer.hasAttribute("src")) return; // it was let go
      note.textContent = `This browser cannot show “${item.label}”.`;
      note.classList.add("wrong");
      this.#onChange();
    });
    layer.src = item.blobUrl ?? item.url;
    return { root, layer, item, place };
  }
}

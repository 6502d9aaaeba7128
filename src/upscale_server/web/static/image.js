// Puts the image server's page together: pictures are dropped, pasted or chosen, sent two at a time, and compared.

import { byId, say, show } from "./dom.js";
import { PictureCard } from "./image_card.js";
import { lookAfterServer } from "./image_system.js";
import { limitsWords } from "./image_words.js";
import { setUpKey } from "./key.js";

/** As many as a server works on by itself; more would only wait there. */
const AT_ONCE = 2;

const cards = new Set();
const waiting = new Set();
let working = 0;
let info = null;

setUpKey();
lookAfterServer(known);
listen();

/** The server has told what it is: show the choices that it has a use for. TSD-SR alone has sizes and draws. */
function known(said) {
  info = said;
  say(byId("limits"), limitsWords(said));
  const form = byId("choices");
  if (!form.dataset.touched) form.elements.upscale.value = String(said.upscale);
  byId("process").placeholder = String(said.process_size);
  show(byId("more"), said.process_size_has_effect === true);
}

/** Return what is asked of the next picture, by the form. */
function asked() {
  const { upscale, format, process, seed } = byId("choices").elements;
  const words = { upscale: upscale.value };
  [words.format, words.bits] = format.value.split("-");
  if (!words.bits) delete words.bits;
  if (byId("more").hidden) return words;
  if (process.value) words.process_size = process.value;
  if (seed.value) words.seed = seed.value;
  return words;
}

/** Take pictures from wherever they came. */
function take(files) {
  if (!files.length || !byId("choices").reportValidity()) return;
  const told = { info: () => info, again, left: (card) => waiting.delete(card), removed };
  const added = [...files].map((file) => new PictureCard(file, asked(), told));
  byId("pictures").prepend(...added.map((card) => card.root));
  for (const card of added) {
    cards.add(card);
    queue(card, undefined);
  }
  show(byId("empty"), false);
  added[0].focus();
}

function queue(card, words) {
  card.wait(words);
  waiting.add(card);
  next();
}

function next() {
  for (const card of waiting) {
    if (working === AT_ONCE) return;
    waiting.delete(card);
    working += 1;
    card.run().then(() => ended(card));
  }
}

function ended(card) {
  working -= 1;
  if (![...cards].some((one) => one.isOpen)) card.open(); // the first one; a long list would be too much at once
  say(byId("spoken"), `${card.name}: ${card.root.querySelector(".picture-words p").textContent}`);
  next();
}

function again(card) {
  if (byId("choices").reportValidity()) queue(card, asked());
}

function removed(card) {
  waiting.delete(card);
  cards.delete(card);
  card.root.remove();
  show(byId("empty"), cards.size === 0);
  byId("choose").focus();
}

function listen() {
  const input = byId("file");
  const zone = byId("drop");
  byId("choose").addEventListener("click", () => input.click());
  byId("choices").addEventListener("input", (event) => (event.currentTarget.dataset.touched = "yes"));
  byId("choices").addEventListener("submit", (event) => event.preventDefault());
  input.addEventListener("change", () => {
    take([...input.files]);
    input.value = ""; // the same file may be chosen again
  });
  window.addEventListener("beforeunload", (event) => {
    if ([...cards].some((card) => card.wouldBeLost)) event.preventDefault(); // the browser asks
  });
  document.addEventListener("paste", (event) => take([...(event.clipboardData?.files ?? [])]));
  const hasFiles = (event) => [...event.dataTransfer.types].includes("Files");
  // The whole page takes a drop: who misses the zone would otherwise leave the page for the file.
  window.addEventListener("dragover", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    zone.classList.add("drop--over");
  });
  window.addEventListener("dragleave", (event) => event.relatedTarget || zone.classList.remove("drop--over"));
  window.addEventListener("drop", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    zone.classList.remove("drop--over");
    take([...event.dataTransfer.files]);
  });
}

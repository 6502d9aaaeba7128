// Takes a video from a person: dropped anywhere on the page, chosen, or as an address. What becomes of it is told others.

import { byId, show } from "./dom.js";

/**
 * Listen.
 * @param {{onFile: function(File, number=): void, onAddress: function(string): void,
 *   mayOffer: function(): boolean}} told `mayOffer` tells whether a dropped address can be taken now, and says why not.
 */
export function setUpDrop(told) {
  const zone = byId("drop");
  const input = byId("file");
  byId("choose").addEventListener("click", () => input.click());
  input.addEventListener("change", () => {
    if (input.files.length) told.onFile(input.files[0]);
    input.value = ""; // the same file may be chosen again
  });
  byId("address-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const address = byId("address").value.trim();
    if (address) told.onAddress(address);
  });
  listen(zone, told);
}

/** The whole page takes a drop: who misses the zone would otherwise leave the page for the file. */
function listen(zone, told) {
  let inside = 0;
  let isOurs = false; // a link of this very page that is dragged is no video
  window.addEventListener("dragstart", () => {
    isOurs = true;
  });
  window.addEventListener("dragend", () => {
    isOurs = false;
  });
  const mark = (isOver) => {
    for (const one of [zone, byId("probe")]) one.classList.toggle("drop--over", isOver); // whichever is there
  };
  const takes = (event) => !isOurs && [...event.dataTransfer.types].some((type) => type === "Files" || type === "text/uri-list");
  window.addEventListener("dragenter", (event) => {
    if (!takes(event)) return;
    inside += 1;
    mark(true);
  });
  window.addEventListener("dragleave", (event) => {
    if (!takes(event)) return;
    inside -= 1;
    if (inside <= 0) mark(false);
  });
  window.addEventListener("dragover", (event) => {
    if (!takes(event)) return;
    event.preventDefault();
    event.dataTransfer.dropEffect = "copy";
  });
  window.addEventListener("drop", (event) => {
    if (!takes(event)) return;
    event.preventDefault();
    inside = 0;
    mark(false);
    const { files } = event.dataTransfer;
    const address = event.dataTransfer.getData("text/uri-list").split(/\r?\n/).find((line) => line && line[0] !== "#");
    if (files.length) told.onFile(files[0], files.length);
    else if (address && told.mayOffer()) offer(zone, address);
  });
}

/** Fill in a dropped address. A page that one comes from may be anybody's: the server fetches it when a person says so. */
function offer(zone, address) {
  show(zone);
  byId("address").value = address;
  byId("fetch").focus();
}

// Turns what a hand does on the stage into wishes: the line is dragged, a magnified picture is moved, keys do both.
// It holds no state of the view beyond the drag that is under way.

/** How near to the line a pointer has it: half of the 44 pixels that a finger needs. */
const NEAR = 22;
/** A press of an arrow key moves a magnified picture by this part of what is seen. */
const KEY_PART = 0.1;

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/**
 * Listen to pointers.
 * @param {HTMLElement} stage where they are.
 * @param {object} wishes `view()` tells what is seen; `position`, `pan`, `hold` and `zoomAt` are asked for.
 */
export function listenToPointers(stage, wishes) {
  let drag = null;
  const place = (event) => {
    const box = stage.getBoundingClientRect();
    return { x: event.clientX - box.left, y: event.clientY - box.top, width: box.width, height: box.height };
  };
  const wipeTo = (event) => wishes.position((place(event).x / place(event).width) * 100);

  stage.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || drag) return;
    drag = { kind: kindOf(place(event), wishes.view()), id: event.pointerId, x: event.clientX, y: event.clientY };
    stage.setPointerCapture(event.pointerId);
    if (drag.kind === "wipe") wipeTo(event);
    if (drag.kind === "hold") wishes.hold(true);
  });
  stage.addEventListener("pointermove", (event) => {
    if (!drag || drag.id !== event.pointerId) return;
    if (drag.kind === "wipe") wipeTo(event);
    if (drag.kind === "pan") {
      wishes.pan(drag.x - event.clientX, drag.y - event.clientY);
      drag.x = event.clientX;
      drag.y = event.clientY;
    }
  });
  const end = (event) => {
    if (!drag || drag.id !== event.pointerId) return;
    if (drag.kind === "hold") wishes.hold(false);
    drag = null;
  };
  stage.addEventListener("pointerup", end);
  stage.addEventListener("pointercancel", end);
  stage.addEventListener("contextmenu", (event) => drag && event.preventDefault()); // a long press is a hold
  stage.addEventListener("dblclick", (event) => wishes.zoomAt(place(event)));
}

/**
 * Let a button be held with pointer or key: the first picture is seen as long as it is down.
 * @param {HTMLButtonElement} held the button.
 * @param {function(boolean): void} hold is told whether it is down.
 */
export function listenToHeld(held, hold) {
  held.addEventListener("pointerdown", (event) => {
    held.setPointerCapture(event.pointerId);
    hold(true);
  });
  for (const over of ["pointerup", "pointercancel", "blur", "keyup"]) held.addEventListener(over, () => hold(false));
  held.addEventListener("keydown", (event) => {
    if (event.key === " " || event.key === "Enter") hold(true);
  });
  held.addEventListener("contextmenu", (event) => event.preventDefault());
}

/**
 * Listen to keys that are pressed anywhere in the component.
 * @param {HTMLElement} root what holds every control.
 * @param {HTMLElement} stage where arrows move the picture or the line.
 * @param {object} wishes as of `listenToPointers`, and `choose`, `zoomBy`, `zoom`, `step`, `play`, `full`.
 */
export function listenToKeys(root, stage, wishes) {
  const single = {
    ",": () => wishes.step(-1),
    ".": () => wishes.step(1),
    "+": () => wishes.zoomBy(1),
    "=": () => wishes.zoomBy(1),
    "-": () => wishes.zoomBy(-1),
    0: () => wishes.zoom(0),
    f: () => wishes.full(),
  };
  root.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const act = single[event.key];
    if (act) act();
    else if (/^[1-9]$/.test(event.key)) wishes.choose(Number(event.key) - 1);
    else if (event.key === " " && !event.target.closest("button, summary")) space(event, wishes);
    else if (event.target === stage && ARROWS[event.key]) arrow(ARROWS[event.key], stage, wishes);
    else return;
    event.preventDefault();
  });
  root.addEventListener("keyup", (event) => {
    if (event.key === " " && !event.target.closest("button")) wishes.hold(false);
  });
  root.addEventListener("focusout", () => wishes.hold(false)); // a key that is let go elsewhere is never heard
}

function kindOf({ x, width }, view) {
  if (view.mode === "hold" && !view.zoomed) return "hold";
  if (view.mode !== "wipe") return "pan";
  return !view.zoomed || Math.abs(x - (view.position / 100) * width) <= NEAR ? "wipe" : "pan";
}

function space(event, wishes) {
  if (wishes.view().mode === "hold") wishes.hold(true);
  else if (!event.repeat) wishes.play();
}

function arrow([x, y], stage, wishes) {
  const view = wishes.view();
  if (view.mode === "wipe" && !view.zoomed) wishes.position(view.position + x);
  else wishes.pan(x * stage.clientWidth * KEY_PART, y * stage.clientHeight * KEY_PART);
}

// Makes and finds elements; text is always text, so that nothing a server or a file name says becomes markup.

/** Return the element with this id; a page that lacks it is broken and says so. */
export function byId(id) {
  const found = document.getElementById(id);
  if (!found) throw new Error(`the page has no element #${id}`);
  return found;
}

/** Return a new element. Attributes that are null, undefined or false are left out; `on…` are listeners. */
export function el(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (key === "class") made.className = value;
    else made.setAttribute(key, value === true ? "" : String(value));
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return made;
}

const SVG = "http://www.w3.org/2000/svg";

/** Return one of our small pictures, for the eye alone: what it means stands beside it in words. */
export function icon(...paths) {
  const made = document.createElementNS(SVG, "svg");
  for (const [key, value] of Object.entries({ viewBox: "0 0 24 24", class: "icon", "aria-hidden": "true" })) {
    made.setAttribute(key, value);
  }
  for (const drawn of paths) {
    const path = document.createElementNS(SVG, "path");
    path.setAttribute("d", drawn);
    made.append(path);
  }
  return made;
}

/** Put text into an element only where it changes: a live region speaks whenever it is touched. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Show or hide. */
export function show(element, isShown = true) {
  element.hidden = !isShown;
}

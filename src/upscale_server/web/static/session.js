// Keeps small things for as long as a tab is open, so that a reload finds them; a browser may forbid it.

const BEFORE = "upscale-";

/** Keep a text under a name. */
export function keep(name, text) {
  try {
    sessionStorage.setItem(BEFORE + name, text);
  } catch {
    // then a reload begins anew
  }
}

/** Return what was kept under a name, null where nothing was. */
export function kept(name) {
  try {
    return sessionStorage.getItem(BEFORE + name);
  } catch {
    return null;
  }
}

/** Forget what was kept under a name. */
export function forget(name) {
  try {
    sessionStorage.removeItem(BEFORE + name);
  } catch {
    // there was nothing
  }
}

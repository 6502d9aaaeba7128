"""What an eye would see of a whole page, components' insides too: what reaches out of its side, what cannot be read.

It knows no page; a text over a picture or a gradient is not judged, because no one colour is behind it.
"""

from __future__ import annotations

from playwright.sync_api import Page

_OUTSIDE = """() => {
  const wrong = [];
  const look = (one) => {
    if (!one.checkVisibility() || one.matches(".only-heard, .skip")) return;
    const { left, right, width } = one.getBoundingClientRect();
    if (width && (right > innerWidth + 1 || left < -1)) wrong.push(one.outerHTML.slice(0, 80));
    if (getComputedStyle(one).overflowX !== "visible") return; // it scrolls or cuts what is in it, and fits itself
    [...one.children, ...(one.shadowRoot?.children ?? [])].forEach(look);
  };
  look(document.body);
  return wrong;
}"""
_READABLE = """() => {
  const canvas = Object.assign(document.createElement("canvas"), { width: 1, height: 1 });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const known = new Map();
  const parsed = (colour) => {
    if (!known.has(colour)) {
      context.clearRect(0, 0, 1, 1);
      context.fillStyle = colour;
      context.fillRect(0, 0, 1, 1);
      const [red, green, blue, alpha] = context.getImageData(0, 0, 1, 1).data;
      known.set(colour, [red, green, blue, alpha / 255]);
    }
    return known.get(colour);
  };
  const over = (top, below) => [0, 1, 2].map((at) => top[at] * top[3] + below[at] * (1 - top[3]));
  const linear = (value) => (value <= 10 ? value / 3294 : ((value / 255 + 0.055) / 1.055) ** 2.4);
  const light = (colour) => {
    const [red, green, blue] = colour.map(linear);
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const outer = (one) => one.assignedSlot ?? one.parentElement ?? one.getRootNode().host ?? null;
  const behind = (one) => {
    const layers = [];
    for (let at = one; at; at = outer(at)) {
      const style = getComputedStyle(at);
      if (style.backgroundImage !== "none") return null;
      const colour = parsed(style.backgroundColor);
      if (colour[3]) layers.push(colour);
      if (colour[3] === 1) break;
    }
    return layers.reduceRight((below, top) => over(top, below), parsed("Canvas").slice(0, 3));
  };
  const found = [];
  const look = (one) => {
    if (!one.checkVisibility() || one.matches(".only-heard, .skip, :disabled, .stage")) return;
    const texts = [...one.childNodes].filter((node) => node.nodeType === 3);
    const text = texts.map((node) => node.data.trim()).join(" ").trim();
    const ground = text && !one.closest("svg") && behind(one);
    if (ground) {
      const style = getComputedStyle(one);
      const [first, second] = [light(over(parsed(style.color), ground)), light(ground)];
      const size = parseFloat(style.fontSize);
      const isLarge = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
      const ratio = (Math.max(first, second) + 0.05) / (Math.min(first, second) + 0.05);
      found.push([text.slice(0, 60), Math.round(ratio * 100) / 100, isLarge ? 3 : 4.5]);
    }
    [...one.children, ...(one.shadowRoot?.children ?? [])].forEach(look);
  };
  look(document.body);
  return found;
}"""


def fits(page: Page) -> None:
    """Check that nothing of a page reaches out of its side."""
    outside = page.evaluate(_OUTSIDE)
    assert not outside, f"out of the side: {outside}"
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def readable(page: Page, least: int) -> None:
    """Check that text has the contrast that WCAG 2.2 (1.4.3) asks for; and that so many texts were looked at."""
    found = page.evaluate(_READABLE)
    assert least <= len(found), f"only {len(found)} texts"
    faint = [one for one in found if one[1] < one[2]]
    assert not faint, f"text, its contrast, and the least: {faint}"

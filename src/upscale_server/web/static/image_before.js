// Makes the fair "before" of a picture: the source enlarged to the result's size by plain bicubic interpolation.
//
// A browser's own smooth enlargement is not bicubic and differs from browser to browser, so it is done here: Keys'
// kernel with a = -0.5 ("Cubic convolution interpolation for digital image processing", 1981, eq. 15), which is what
// imaging programs call bicubic. Row by row, so that the page stays awake.

/** Beyond so many pixels of the result the work and the memory are not worth it: the browser enlarges it then. */
const MOST_PIXELS = 40_000_000;
/** As long as the page may be kept from answering, milliseconds. */
const SLICE_MS = 12;

/**
 * Return what to compare the result with.
 * @param {ImageBitmap} source the picture as it was, upright.
 * @param {number} factor how many times larger the result is.
 * @param {AbortSignal} signal ends it.
 * @returns {Promise<{label: string, blob: Blob|null}>} a PNG; null where the source itself must do.
 */
export async function beforeOf(source, factor, signal) {
  const [width, height] = [source.width * factor, source.height * factor];
  if (width * height > MOST_PIXELS) return { label: "Before, enlarged by your browser", blob: null };
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  const context = canvas.getContext("2d");
  const { data } = pixelsOf(source);
  const rows = new Rows(data, source.width, tapsOf(source.width, factor));
  const down = tapsOf(source.height, factor);
  const line = new ImageData(width, 1);
  let until = performance.now() + SLICE_MS;
  for (let y = 0; y < height; y += 1) {
    rows.mix(down, y, line.data);
    context.putImageData(line, 0, y);
    if (performance.now() < until) continue;
    await new Promise((resolve) => setTimeout(resolve));
    signal.throwIfAborted();
    until = performance.now() + SLICE_MS;
  }
  const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
  return blob ? { label: "Before, bicubic", blob } : { label: "Before, enlarged by your browser", blob: null };
}

function pixelsOf(source) {
  const canvas = Object.assign(document.createElement("canvas"), { width: source.width, height: source.height });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(source, 0, 0);
  return context.getImageData(0, 0, source.width, source.height);
}

function kernel(distance) {
  const x = Math.abs(distance);
  if (x < 1) return (1.5 * x - 2.5) * x * x + 1;
  return x < 2 ? ((-0.5 * x + 2.5) * x - 4) * x + 2 : 0;
}

/**
 * Return for each sample of the result the first of the four it is made of, and their weights. What lies outside is
 * left out and the rest weighs more, so that no edge is invented.
 */
function tapsOf(length, factor) {
  const first = new Int32Array(length * factor);
  const weights = new Float32Array(length * factor * 4);
  for (let at = 0; at < first.length; at += 1) {
    const centre = (at + 0.5) / factor - 0.5; // samples are areas: the middle of the first one is not its corner
    first[at] = Math.floor(centre) - 1;
    let sum = 0;
    for (let tap = 0; tap < 4; tap += 1) {
      const place = first[at] + tap;
      const weight = place < 0 || place >= length ? 0 : kernel(place - centre);
      weights[at * 4 + tap] = weight;
      sum += weight;
    }
    for (let tap = 0; tap < 4; tap += 1) weights[at * 4 + tap] /= sum;
  }
  return { first, weights };
}

/** Rows of the source, widened when they are needed and kept while they are. Colours are multiplied by their alpha. */
class Rows {
  #data;
  #width;
  #across;
  #kept = new Map();

  constructor(data, width, across) {
    this.#data = data;
    this.#width = width;
    this.#across = across;
  }

  /** Write row `y` of the result. */
  mix({ first, weights }, y, out) {
    const parts = [];
    for (let tap = 0; tap < 4; tap += 1) {
      const weight = weights[y * 4 + tap];
      if (weight) parts.push([weight, this.#row(first[y] + tap)]);
    }
    for (const row of this.#kept.keys()) if (row < first[y]) this.#kept.delete(row);
    for (let at = 0; at < out.length; at += 4) {
      let [red, green, blue, alpha] = [0, 0, 0, 0];
      for (const [weight, row] of parts) {
        red += weight * row[at];
        green += weight * row[at + 1];
        blue += weight * row[at + 2];
        alpha += weight * row[at + 3];
      }
      const back = alpha > 0 ? 255 / alpha : 0;
      out[at] = red * back; // the array rounds and bounds
      out[at + 1] = green * back;
      out[at + 2] = blue * back;
      out[at + 3] = alpha;
    }
  }

  #row(y) {
    const known = this.#kept.get(y);
    if (known) return known;
    const { first, weights } = this.#across;
    const row = new Float32Array(first.length * 4);
    const start = y * this.#width * 4;
    for (let x = 0; x < first.length; x += 1) {
      for (let tap = 0; tap < 4; tap += 1) {
        const weight = weights[x * 4 + tap];
        if (!weight) continue;
        const from = start + (first[x] + tap) * 4;
        const alpha = (this.#data[from + 3] * weight) / 255;
        row[x * 4] += this.#data[from] * alpha;
        row[x * 4 + 1] += this.#data[from + 1] * alpha;
        row[x * 4 + 2] += this.#data[from + 2] * alpha;
        row[x * 4 + 3] += 255 * alpha;
      }
    }
    this.#kept.set(y, row);
    return row;
  }
}

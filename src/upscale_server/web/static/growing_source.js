// Feeds a <video> with finished pieces in any order, through Media Source Extensions. It fetches nothing.
//
// The trap: a browser throws old pieces away when its room is full, and tells nobody. So what is there is always asked
// of the buffer itself.

/** When there is no room: what is kept around the place that is seen, seconds before and after it. */
const KEPT = [30, 120];
/** Rounding of times between a piece and its neighbour. */
const NEAR = 0.1;

/** A piece of the video. @typedef {{index: number, start_seconds: number, seconds: number, url: string}} Piece */

export class GrowingSource {
  #media = new MediaSource();
  #last = Promise.resolve();
  #buffer = null;
  #opened;
  #closed;
  #giveUp;
  #video;
  #url;

  /** Tell whether this browser can play pieces of this kind. */
  static can(mime) {
    return Boolean(mime) && "MediaSource" in window && MediaSource.isTypeSupported(mime);
  }

  /**
   * @param {HTMLVideoElement} video what shows them.
   * @param {string} mime their kind with its codec.
   * @param {number|null} seconds of the whole video, where that is known.
   */
  constructor(video, mime, seconds) {
    this.#video = video;
    this.#url = URL.createObjectURL(this.#media);
    this.#opened = new Promise((resolve) => {
      this.#media.addEventListener("sourceopen", resolve, { once: true });
    }).then(() => {
      this.#buffer = this.#media.addSourceBuffer(mime);
      if (seconds) this.#media.duration = seconds;
    });
    // What is closed neither opens nor ends what it began, and says so to nobody: whoever waits is let go by this.
    this.#closed = new Promise((_, reject) => (this.#giveUp = () => reject(new DOMException("closed", "AbortError"))));
    this.#closed.catch(() => {});
    video.src = this.#url;
  }

  /** Tell whether a time can be shown. */
  holds(seconds) {
    return this.ranges().some(([start, end]) => start - NEAR <= seconds && seconds < end + NEAR / 2);
  }

  /** Tell whether a piece is there: by its middle, because its ends may be rounded. */
  has(piece) {
    return this.holds(piece.start_seconds + piece.seconds / 2);
  }

  /** Return the stretches that can be shown, in seconds. */
  ranges() {
    if (!this.#buffer || this.#media.readyState === "closed") return [];
    const { buffered } = this.#buffer;
    return Array.from({ length: buffered.length }, (_, place) => [buffered.start(place), buffered.end(place)]);
  }

  /**
   * Add a piece; one after the other, because a buffer takes one at a time.
   * @param {Piece} piece where it belongs.
   * @param {ArrayBuffer} bytes its file.
   */
  add(piece, bytes) {
    const added = Promise.race([this.#last.then(() => this.#append(piece, bytes)), this.#closed]);
    this.#last = added.catch(() => {}); // one that is broken does not stop those after it
    return added;
  }

  /** Say that nothing will follow: only then does a video know that it has ended. */
  finish() {
    this.#last = this.#last.then(() => {
      if (this.#media.readyState === "open") this.#media.endOfStream();
    });
  }

  /** Let go: what has not been added by now is not added. */
  close() {
    this.#giveUp();
    URL.revokeObjectURL(this.#url);
  }

  async #append(piece, bytes) {
    await this.#opened;
    for (const again of [true, false]) {
      try {
        this.#buffer.timestampOffset = piece.start_seconds;
        await this.#changed(() => this.#buffer.appendBuffer(bytes));
        return;
      } catch (error) {
        if (error.name !== "QuotaExceededError" || !again) throw error;
        await this.#makeRoom();
      }
    }
  }

  async #makeRoom() {
    const now = this.#video.currentTime;
    const [before, after] = [Math.max(0, now - KEPT[0]), now + KEPT[1]];
    // A stretch that begins behind the end of all is refused, not empty.
    if (before > 0) await this.#changed(() => this.#buffer.remove(0, before));
    if (after < this.#media.duration) await this.#changed(() => this.#buffer.remove(after, Infinity));
  }

  #changed(change) {
    return new Promise((resolve, reject) => {
      const buffer = this.#buffer;
      const off = () => {
        buffer.removeEventListener("updateend", done);
        buffer.removeEventListener("error", broken);
      };
      const done = () => (off(), resolve());
      const broken = () => (off(), reject(new Error("the browser cannot read this piece")));
      buffer.addEventListener("updateend", done);
      buffer.addEventListener("error", broken);
      try {
        change();
      } catch (error) {
        off();
        reject(error);
      }
    });
  }
}

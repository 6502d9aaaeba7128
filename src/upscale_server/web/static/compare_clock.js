// Keeps several videos on one frame: one is the clock, the others follow it; when it stands still all show one frame.
// It draws nothing and listens to no key.
//
// The trap: a browser shows, after a seek to t, the frame whose interval holds t, and a seek to the very start of a
// frame may round into the one before. So every seek goes to the middle of a frame's interval.

/** Above this a follower is seeked instead of being hurried: a change of rate would take seconds to close it. */
const HARD_SECONDS = 0.25;
/** How much faster or slower a follower may go; a viewer of muted pictures sees no difference. */
const MOST_RATE = 0.2;
/** Browsers give times in microseconds and containers in ticks: a tenth of a millisecond is neither. */
const ROUNDING = 1e-4;
/** Assumed length of a frame where the times of the frames are unknown. */
const UNKNOWN_GAP = 1 / 25;

export class Clock {
  #times = [];
  #active = [];
  #playing = false;
  #goal;
  #seeking;
  #shown = 0;
  #watch = 0;
  #tell;

  /** @param {function(): void} tell is called when the frame, or whether it plays, has changed. */
  constructor(tell) {
    this.#tell = tell;
    this.loop = !matchMedia("(prefers-reduced-motion: reduce)").matches;
  }

  /** Seconds of each frame from the start of the video; empty where nobody knows them. */
  set times(seconds) {
    this.#times = seconds ?? [];
  }

  get frames() {
    return this.#times.length;
  }

  get playing() {
    return this.#playing;
  }

  /** Seconds that the first video is at. */
  get time() {
    return this.#shown;
  }

  get duration() {
    return this.#active[0]?.duration || 0;
  }

  /** The number of the frame that is shown, from 0; -1 where the times are unknown. */
  get frame() {
    return this.#frameAt(this.#shown);
  }

  /**
   * Say which videos are seen; the first one is the clock. Others rest, so that they cost nothing.
   * @param {HTMLVideoElement[]} videos those that are seen.
   */
  use(videos) {
    const same = videos.length === this.#active.length && videos.every((one, place) => one === this.#active[place]);
    if (same) return;
    const resting = this.#active.filter((one) => !videos.includes(one));
    resting.forEach((one) => one.pause());
    this.#active = videos;
    if (!videos.length) return;
    if (this.#playing) {
      videos.filter((one) => one.paused).forEach((one) => (one.currentTime = this.#shown));
      this.play();
    } else {
      this.#seek(this.#middle(this.#shown));
    }
  }

  /** Begin; at the end it begins again from the start. */
  async play() {
    const videos = this.#active;
    if (!videos.length) return;
    this.#playing = true;
    this.#tell();
    if (videos[0].ended || this.#atEnd()) await this.#seek(0);
    await this.#seeking;
    if (!this.#playing || videos !== this.#active) return;
    const begun = await Promise.allSettled(videos.map((one) => one.play()));
    if (begun[0].status === "rejected" && videos === this.#active && videos[0].paused) {
      this.#playing = false; // the browser refuses to play, or the file is broken
      this.#tell();
    } else {
      this.#follow();
    }
  }

  /** Stop, and put every video on the frame that the clock shows. */
  async pause() {
    this.#playing = false;
    this.#watch += 1;
    for (const one of this.#active) {
      one.pause();
      one.playbackRate = 1;
    }
    this.#tell();
    await this.#seek(this.#middle(this.#shown));
  }

  /**
   * Go so many frames on, or back where it is negative.
   * @param {number} frames how many.
   */
  async step(frames) {
    const from = this.#goal === undefined ? this.#shown : this.#goal;
    if (this.#playing) await this.pause();
    if (this.frames) await this.seekFrame(this.#frameAt(from) + frames);
  }

  /**
   * Show a frame in all videos.
   * @param {number} index its number from 0; what lies outside is the first or the last one.
   */
  seekFrame(index) {
    const last = this.frames - 1;
    const kept = Math.min(Math.max(index, 0), last);
    return this.#seek(this.#middle(this.#times[kept] ?? 0));
  }

  /**
   * Show what is at a time, where the times of the frames are unknown.
   * @param {number} seconds from the start.
   */
  seekTime(seconds) {
    return this.#seek(this.#middle(seconds));
  }

  /** Let go of all videos. */
  close() {
    this.#playing = false;
    this.#watch += 1;
    this.#active.forEach((one) => one.pause());
    this.#active = [];
    this.#shown = 0;
  }

  /** Called when a video has ended: only the clock's end counts, a follower waits on its last frame. */
  async ended(video) {
    if (video !== this.#active[0] || !this.#playing) return;
    if (!this.loop) {
      this.#shown = this.frames ? this.#times[this.frames - 1] : video.duration; // a busy browser tells of no last frame
      await this.pause();
      return;
    }
    await this.#seek(0);
    if (this.#playing) this.play();
  }

  #atEnd() {
    return this.frames ? this.frame === this.frames - 1 : this.#shown >= this.duration - UNKNOWN_GAP / 2;
  }

  #frameAt(seconds) {
    let low = -1;
    let high = this.#times.length;
    while (high - low > 1) {
      const half = (low + high) >> 1;
      if (this.#times[half] <= seconds + ROUNDING) low = half;
      else high = half;
    }
    return this.#times.length ? Math.max(low, 0) : -1;
  }

  /** The gap after a frame; the last one is as long as the one before it. */
  #gap(index) {
    const times = this.#times;
    if (index + 1 < times.length && index >= 0) return times[index + 1] - times[index];
    return times.length > 1 ? times[times.length - 1] - times[times.length - 2] : UNKNOWN_GAP;
  }

  #middle(seconds) {
    const index = this.#frameAt(seconds);
    if (index < 0) return seconds;
    const start = this.#times[index];
    const end = index + 1 < this.frames ? this.#times[index + 1] : start + this.#gap(index);
    const known = this.duration > start ? Math.min(end, this.duration) : end;
    return (start + known) / 2;
  }

  /** Only the newest wish counts: a scrubber asks for more places than a decoder can show. */
  #seek(seconds) {
    this.#goal = seconds;
    this.#seeking ??= this.#seekOn();
    return this.#seeking;
  }

  async #seekOn() {
    while (this.#goal !== undefined) {
      const seconds = this.#goal;
      await Promise.all(this.#active.map((one) => seeked(one, seconds)));
      this.#shown = seconds;
      if (this.#goal === seconds) this.#goal = undefined;
      this.#tell();
    }
    this.#seeking = undefined;
  }

  #follow() {
    const watch = (this.#watch += 1);
    const clock = this.#active[0];
    const next = (now, shown) => {
      if (watch !== this.#watch || !this.#playing) return;
      this.#shown = shown?.mediaTime ?? clock.currentTime;
      this.#active.slice(1).forEach((one) => this.#hurry(one, clock));
      this.#tell();
      again();
    };
    const again = () =>
      clock.requestVideoFrameCallback ? clock.requestVideoFrameCallback(next) : requestAnimationFrame((now) => next(now));
    again();
  }

  #hurry(one, clock) {
    const ahead = one.currentTime - clock.currentTime;
    const gap = this.#gap(this.#frameAt(clock.currentTime));
    if (Math.abs(ahead) > HARD_SECONDS && !one.seeking && !one.ended) one.currentTime = clock.currentTime;
    else if (Math.abs(ahead) > gap) one.playbackRate = 1 - Math.min(Math.max(ahead * 2, -MOST_RATE), MOST_RATE);
    else if (Math.abs(ahead) < gap / 2) one.playbackRate = 1;
  }
}

/** Wait until a video shows what is at a time; one that cannot is not waited for. */
function seeked(video, seconds) {
  return new Promise((resolve) => {
    const over = ["seeked", "error", "emptied"];
    const done = () => {
      over.forEach((name) => video.removeEventListener(name, done));
      video.removeEventListener("loadedmetadata", go);
      resolve();
    };
    const go = () => (video.currentTime = seconds);
    if (video.error || !video.src) {
      resolve();
      return;
    }
    over.forEach((name) => video.addEventListener(name, done));
    if (video.readyState >= HTMLMediaElement.HAVE_METADATA) go();
    else video.addEventListener("loadedmetadata", go, { once: true });
  });
}

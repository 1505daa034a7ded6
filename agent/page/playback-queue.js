// What is to be played, in order, and how much of each item was: the page's playback clock.

const SMALLEST_MS = 60;
const LARGEST_MS = 400;

// Samples are at `rate` Hz. `tell` gets {kind: "audible" | "ended" | "starved", item, offset}, where `offset`
// counts samples from the start of the piece that is being taken.
export class PlaybackQueue {
  constructor(rate, audible, tell) {
    this.rate = rate;
    this.audible = audible;
    this.tell = tell;
    this.items = [];
    this.stopped = new Set();
    this.waiting = true;
    this.targetMs = SMALLEST_MS;
  }

  get bufferedMs() {
    const samples = this.items.reduce((sum, item) => sum + item.total - item.taken, 0);
    return (samples * 1000) / this.rate;
  }

  // Append samples of an item; those of one that was stopped are late and fall away.
  add(name, samples) {
    if (this.stopped.has(name)) return;
    let item = this.items.find((each) => each.name === name);
    if (!item) {
      item = { name, pieces: [], place: 0, taken: 0, total: 0, whole: false, heard: false };
      this.items.push(item);
    }
    item.pieces.push(samples);
    item.total += samples.length;
  }

  // Nothing more comes of an item.
  end(name) {
    const item = this.items.find((each) => each.name === name);
    if (!item) return;
    item.whole = true;
    this.finish(0);
  }

  // Fill `out` with what comes next; silence where there is nothing, or too little to go on smoothly.
  take(out) {
    out.fill(0);
    if (this.waiting && !this.ready()) return;
    this.waiting = false;
    let filled = 0;
    while (filled < out.length) {
      const item = this.items[0];
      if (!item) {
        this.waiting = true;
        return;
      }
      if (!item.pieces.length) {
        if (item.whole) {
          this.finish(filled);
          continue;
        }
        // It ran dry in the middle: wait for more than last time.
        this.waiting = true;
        this.targetMs = Math.min(LARGEST_MS, 2 * this.targetMs);
        this.tell({ kind: "starved", item: item.name, offset: filled });
        return;
      }
      filled += this.copy(item, out, filled);
    }
    this.finish(filled);
  }

  // Silence from now on. What was not played to its end: [{item, ms}], `ms` of it were.
  stop() {
    const cut = this.items.map((item) => ({ item: item.name, ms: (item.taken * 1000) / this.rate }));
    for (const { item } of cut) this.stopped.add(item);
    this.items = [];
    this.waiting = true;
    this.targetMs = SMALLEST_MS;
    return cut;
  }

  ready() {
    return this.items.length > 0 && (this.items[0].whole || this.bufferedMs >= this.targetMs);
  }

  copy(item, out, filled) {
    const piece = item.pieces[0];
    const count = Math.min(piece.length - item.place, out.length - filled);
    for (let n = 0; n < count; n += 1) {
      const sample = piece[item.place + n];
      out[filled + n] = sample;
      if (!item.heard && Math.abs(sample) > this.audible) {
        item.heard = true;
        this.tell({ kind: "audible", item: item.name, offset: filled + n });
      }
    }
    item.place += count;
    item.taken += count;
    if (item.place === piece.length) {
      item.pieces.shift();
      item.place = 0;
    }
    return count;
  }

  finish(offset) {
    while (this.items.length && this.items[0].whole && !this.items[0].pieces.length) {
      const item = this.items.shift();
      this.tell({ kind: "ended", item: item.name, offset });
    }
    if (!this.items.length) {
      this.waiting = true;
      this.targetMs = SMALLEST_MS;
    }
  }
}

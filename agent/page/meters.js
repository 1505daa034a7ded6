// Both voices as they sound: the last seconds as bars, the caller's above, the agent's below.

const STEP_MS = 50;
const BAR = 3; // CSS pixels of a bar and the gap after it
const GAP = 2;
const FLOOR_DB = -60;

export class Meter {
  constructor(canvas) {
    this.canvas = canvas;
    this.analyser = null;
    this.samples = new Float32Array(1024);
    this.levels = [];
    this.still = matchMedia("(prefers-reduced-motion: reduce)");
  }

  // dB of full scale as a share from 0 (-60 dB) to 1.
  level() {
    if (!this.analyser) return 0;
    this.analyser.getFloatTimeDomainData(this.samples);
    let sum = 0;
    for (const sample of this.samples) sum += sample * sample;
    const db = 10 * Math.log10(sum / this.samples.length + 1e-12);
    return Math.max(0, Math.min(1, (db - FLOOR_DB) / -FLOOR_DB));
  }

  draw() {
    const { canvas } = this;
    const width = canvas.clientWidth;
    const height = canvas.clientHeight;
    const scale = devicePixelRatio || 1;
    if (canvas.width !== Math.round(width * scale)) canvas.width = Math.round(width * scale);
    if (canvas.height !== Math.round(height * scale)) canvas.height = Math.round(height * scale);
    const count = Math.max(1, Math.floor(width / (BAR + GAP)));
    this.levels.push(this.level());
    this.levels = this.levels.slice(-count);
    const style = getComputedStyle(canvas);
    const draw = canvas.getContext("2d");
    draw.setTransform(scale, 0, 0, scale, 0, 0);
    draw.clearRect(0, 0, width, height);
    const levels = this.still.matches ? steady(this.levels.at(-1), count) : this.levels;
    for (let n = 0; n < count; n += 1) {
      const level = levels[levels.length - count + n] ?? 0;
      const tall = Math.max(2, level * height);
      draw.fillStyle = level > 0.02 ? style.color : style.getPropertyValue("--rule");
      draw.fillRect(n * (BAR + GAP), (height - tall) / 2, BAR, tall);
    }
  }
}

// For those who want nothing to move: one bar that fills from the left.
function steady(level, count) {
  return Array.from({ length: count }, (_, n) => (n < level * count ? 0.5 : 0));
}

export class Meters {
  constructor(...meters) {
    this.meters = meters;
    this.timer = null;
  }

  start(...analysers) {
    this.meters.forEach((meter, n) => { meter.analyser = analysers[n]; });
    this.timer ??= setInterval(() => this.draw(), STEP_MS);
  }

  stop() {
    clearInterval(this.timer);
    this.timer = null;
    for (const meter of this.meters) {
      meter.analyser = null;
      meter.levels = [];
    }
    this.draw();
  }

  draw() {
    for (const meter of this.meters) meter.draw();
  }
}

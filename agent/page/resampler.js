// From one sample rate to another, continuously: a windowed sinc in as many phases as the ratio needs.

const ZERO_CROSSINGS = 32;
const KAISER_BETA = 8.96; // stopband below -85 dB
const PASS = 0.92; // where the filter is at half, as a share of the lower Nyquist frequency

// Feed it any pieces; between them nothing clicks. Rates in Hz.
export class Resampler {
  constructor(from, to) {
    const divisor = gcd(from, to);
    this.up = to / divisor;
    this.down = from / divisor;
    this.taps = from === to ? 1 : 2 * Math.ceil(ZERO_CROSSINGS * Math.max(1, from / to));
    this.table = from === to ? new Float32Array([1]) : phases(this.up, this.taps, PASS * Math.min(1, to / from));
    this.reset();
  }

  // Samples of the input that the filter looks ahead: its latency.
  get delay() {
    return this.taps >> 1;
  }

  reset() {
    this.line = new Float32Array(4 * this.taps + 4096);
    this.length = Math.max(0, this.delay - 1); // silence before the first sample: nothing is shifted in time
    this.index = 0;
    this.phase = 0;
  }

  // How many samples of input the next `count` of output need.
  inputsFor(count) {
    if (!count) return 0;
    const last = this.index + Math.floor((this.phase + (count - 1) * this.down) / this.up);
    return Math.max(0, last + this.taps - this.length);
  }

  // Writes what can be made of the input so far into `output`, at most as much as fits; returns how much.
  process(input, output) {
    this.append(input);
    const { line, table, taps, up, down } = this;
    let made = 0;
    while (made < output.length && this.index + taps <= this.length) {
      let sum = 0;
      const row = this.phase * taps;
      for (let tap = 0; tap < taps; tap += 1) sum += line[this.index + tap] * table[row + tap];
      output[made] = sum;
      made += 1;
      this.phase += down;
      this.index += Math.floor(this.phase / up);
      this.phase %= up;
    }
    const gone = Math.min(this.index, this.length);
    line.copyWithin(0, gone, this.length);
    this.length -= gone;
    this.index -= gone;
    return made;
  }

  append(input) {
    if (this.length + input.length > this.line.length) {
      const longer = new Float32Array(2 * (this.length + input.length));
      longer.set(this.line.subarray(0, this.length));
      this.line = longer;
    }
    this.line.set(input, this.length);
    this.length += input.length;
  }
}

// One row of taps for every place that an output sample can have between two input samples.
function phases(up, taps, cutoff) {
  const table = new Float32Array(up * taps);
  for (let phase = 0; phase < up; phase += 1) {
    let sum = 0;
    for (let tap = 0; tap < taps; tap += 1) {
      const time = tap - (taps / 2 - 1) - phase / up;
      const value = sinc(cutoff * time) * kaiser(time / (taps / 2));
      table[phase * taps + tap] = value;
      sum += value;
    }
    for (let tap = 0; tap < taps; tap += 1) table[phase * taps + tap] /= sum;
  }
  return table;
}

function sinc(x) {
  return x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x);
}

function kaiser(x) {
  return Math.abs(x) >= 1 ? 0 : bessel(KAISER_BETA * Math.sqrt(1 - x * x)) / bessel(KAISER_BETA);
}

function bessel(x) {
  let sum = 1;
  let term = 1;
  for (let n = 1; term > 1e-10 * sum; n += 1) {
    term *= (x / (2 * n)) ** 2;
    sum += term;
  }
  return sum;
}

function gcd(a, b) {
  return b ? gcd(b, a % b) : a;
}

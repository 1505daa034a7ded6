// On the audio thread: the agent's 24 kHz become the device's rate just when they are due, and stop at once.

import { PlaybackQueue } from "./playback-queue.js";
import { Resampler } from "./resampler.js";

const RATE = 24000;
const AUDIBLE = 200 / 32768; // what the server counts as audible, too: the hiss of a voice stays below
const FADE_S = 0.005; // a cut without one clicks

class SpeakerProcessor extends AudioWorkletProcessor {
  constructor() {
    super();
    this.resampler = new Resampler(RATE, sampleRate);
    this.queue = new PlaybackQueue(RATE, AUDIBLE, (event) => this.tell(event));
    this.input = new Float32Array(0);
    this.tail = new Float32Array(0);
    this.port.onmessage = ({ data }) => this.told(data);
  }

  told({ kind, item, pcm }) {
    if (kind === "add") {
      this.queue.add(item, pcm);
    } else if (kind === "end") {
      this.queue.end(item);
    } else if (kind === "stop") {
      this.fade();
      this.port.postMessage({ kind: "stopped", cut: this.queue.stop() });
    }
  }

  process(_, [[output]]) {
    if (!output) return true;
    const tail = Math.min(this.tail.length, output.length);
    output.set(this.tail.subarray(0, tail));
    this.tail = this.tail.subarray(tail);
    this.render(output.subarray(tail));
    return true;
  }

  render(output) {
    const needed = this.resampler.inputsFor(output.length);
    if (this.input.length !== needed) this.input = new Float32Array(needed);
    this.queue.take(this.input);
    this.resampler.process(this.input, output);
  }

  fade() {
    if (!this.queue.items.length || this.queue.waiting) return;
    const tail = new Float32Array(Math.round(FADE_S * sampleRate));
    this.render(tail);
    this.tail = tail.map((sample, n) => sample * (1 - n / tail.length));
    this.resampler.reset();
  }

  tell(event) {
    const at = currentTime + (event.offset + this.resampler.delay) / RATE;
    this.port.postMessage({ kind: event.kind, item: event.item, at });
  }
}

registerProcessor("stretto-speaker", SpeakerProcessor);

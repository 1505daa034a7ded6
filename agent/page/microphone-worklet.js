// On the audio thread: the microphone at the device's rate becomes packets of 20 ms at 24 kHz.

import { Resampler } from "./resampler.js";

const RATE = 24000;
const PACKET = 480;

class MicrophoneProcessor extends AudioWorkletProcessor {
  constructor() {
    super();
    this.resampler = new Resampler(sampleRate, RATE);
    this.mono = new Float32Array(128);
    this.made = new Float32Array(Math.ceil((128 * RATE) / sampleRate) + 2);
    this.packet = new Int16Array(PACKET);
    this.filled = 0;
  }

  process([channels]) {
    // Without an input (the microphone is being changed) it is silent, but time goes on.
    const length = channels.length ? channels[0].length : 128;
    if (this.mono.length !== length) this.mono = new Float32Array(length);
    this.mono.fill(0);
    for (const channel of channels) {
      for (let n = 0; n < length; n += 1) this.mono[n] += channel[n] / channels.length;
    }
    const made = this.resampler.process(this.mono, this.made);
    // When the last of these samples was captured, on the context's clock.
    const end = currentTime + (length - this.resampler.delay) / sampleRate;
    for (let n = 0; n < made; n += 1) {
      const sample = Math.max(-1, Math.min(1, this.made[n]));
      this.packet[this.filled] = Math.round(sample * 32767);
      this.filled += 1;
      if (this.filled === PACKET) this.send(end - (made - 1 - n) / RATE);
    }
    return true;
  }

  send(end) {
    this.port.postMessage({ pcm: this.packet, end }, [this.packet.buffer]);
    this.packet = new Int16Array(PACKET);
    this.filled = 0;
  }
}

registerProcessor("stretto-microphone", MicrophoneProcessor);

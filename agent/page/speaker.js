// The agent's voice: played through a small jitter buffer, stopped at once, and what was heard of it known.

export class Speaker {
  // `tell` gets ("audible" | "ended" | "starved", item, at): when it left for the ear, s on the context's clock.
  constructor(context, tell) {
    this.context = context;
    this.node = new AudioWorkletNode(context, "stretto-speaker", { numberOfInputs: 0, outputChannelCount: [1] });
    this.output = new GainNode(context);
    this.analyser = new AnalyserNode(context, { fftSize: 1024 });
    this.node.connect(this.output).connect(context.destination);
    this.output.connect(this.analyser);
    this.asked = [];
    this.node.port.onmessage = ({ data }) => {
      if (data.kind !== "stopped") {
        tell(data.kind, data.item, data.at + this.latency);
        return;
      }
      this.asked.shift()(data.cut.map(({ item, ms }) => ({ item, ms: this.heard(ms) })));
    };
  }

  static async prepare(context) {
    await context.audioWorklet.addModule("speaker-worklet.js");
  }

  // From here to the ear, in seconds, as far as the browser knows.
  get latency() {
    return this.context.outputLatency || this.context.baseLatency || 0;
  }

  // Samples of an item: Float32Array at 24 kHz.
  add(item, pcm) {
    this.node.port.postMessage({ kind: "add", item, pcm }, [pcm.buffer]);
  }

  // Nothing more comes of an item.
  end(item) {
    this.node.port.postMessage({ kind: "end", item });
  }

  // Silence, now. What was cut short: [{item, ms}], with how many ms of it reached the ear.
  stop() {
    return new Promise((resolve) => {
      this.asked.push(resolve);
      this.node.port.postMessage({ kind: "stop" });
    });
  }

  heard(ms) {
    return Math.max(0, Math.floor(ms - this.latency * 1000));
  }
}

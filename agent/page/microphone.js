// The microphone: asked for, listened to on the audio thread, and given back.

export class Microphone {
  // `take` gets every 20 ms: Int16Array at 24 kHz and when the last sample was captured (s, context's clock).
  constructor(context, take) {
    this.context = context;
    this.node = new AudioWorkletNode(context, "stretto-microphone", { numberOfOutputs: 0 });
    this.node.port.onmessage = ({ data }) => take(data.pcm, data.end);
    this.analyser = new AnalyserNode(context, { fftSize: 1024 });
    this.stream = null;
    this.source = null;
    this.silent = false;
    this.lost = () => {};
  }

  static async prepare(context) {
    await context.audioWorklet.addModule("microphone-worklet.js");
  }

  // Ask for the microphone, or for another way of listening while it is open. Throws what the browser throws.
  async open({ echoCancellation, noiseSuppression }) {
    const wanted = { echoCancellation, noiseSuppression, autoGainControl: true, channelCount: { ideal: 1 } };
    this.release();
    const stream = await navigator.mediaDevices.getUserMedia({ audio: wanted });
    if (this.context.state === "closed") {
      for (const track of stream.getTracks()) track.stop();
      return;
    }
    this.stream = stream;
    this.muted = this.silent;
    for (const track of stream.getTracks()) track.onended = () => this.lost();
    this.source = this.context.createMediaStreamSource(stream);
    this.source.connect(this.node);
    this.source.connect(this.analyser);
  }

  // Silence is sent while muted: the call's time goes on.
  set muted(muted) {
    this.silent = muted;
    for (const track of this.stream?.getTracks() ?? []) track.enabled = !muted;
  }

  get muted() {
    return this.silent;
  }

  close() {
    this.release();
    this.node.port.onmessage = null;
  }

  release() {
    for (const track of this.stream?.getTracks() ?? []) {
      track.onended = null;
      track.stop();
    }
    this.source?.disconnect();
    this.stream = null;
    this.source = null;
  }
}

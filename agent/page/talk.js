// One call in this browser: microphone and speaker on one audio clock, the protocol between them.

import { Call, fromBase64 } from "./call.js";
import { Microphone } from "./microphone.js";
import { SentClock } from "./sent-clock.js";
import { Speaker } from "./speaker.js";
import { Turns } from "./turns.js";

const RATE = 24000;
const TAP_MS = 200; // held for less: a slip, not a turn
const PACKET_MS = 60; // what was captured before the release is on its way
const DRAIN_MS = 1500;
const START_MS = 5000;
const EXPECTED = ["response_cancel_not_active", "input_audio_buffer_commit_empty", "item_not_found"];

export class Talk {
  // `tell`: {turn(record), note(record, text), activity(text), over(code, reason)}.
  constructor(tell) {
    this.tell = tell;
    this.turns = new Turns();
    this.sent = new SentClock(RATE);
    this.playing = new Set();
    this.responding = false;
    this.byHand = false;
    this.heldSince = null;
    this.committing = false;
    this.muted = false;
    this.over = false;
    this.call = new Call({ event: (event) => this.happened(event), closed: (code, reason) => this.closed(code, reason) });
  }

  // Throws what trouble() explains; nothing stays open then.
  async begin({ key, greet, byHand, listening }) {
    this.byHand = byHand;
    this.context = new AudioContext({ latencyHint: "interactive" });
    try {
      await Promise.all([Call.check(key), Microphone.prepare(this.context), Speaker.prepare(this.context)]);
      this.microphone = new Microphone(this.context, (pcm, end) => this.captured(pcm, end));
      this.speaker = new Speaker(this.context, (kind, item, at) => this.played(kind, item, at));
      this.microphone.lost = () => this.lost();
      await this.microphone.open(listening);
      this.hush();
      await started(this.context);
      await this.call.connect({ key, greet });
      if (this.over) this.call.hangUp(); // while it was being connected
      if (byHand) this.call.handsFree(false);
    } catch (error) {
      this.end();
      throw error;
    }
  }

  // ------------------------------------------------------------ what the caller does

  // Listen in another way: the microphone is opened anew.
  async relisten(listening) {
    await this.microphone.open(listening);
    this.hush();
  }

  mute(muted) {
    this.muted = muted;
    this.hush();
  }

  // Who ends the caller's turns from now on.
  take(byHand) {
    this.byHand = byHand;
    this.heldSince = null;
    this.call.handsFree(!byHand);
    this.hush();
  }

  hold() {
    if (!this.byHand || this.heldSince !== null || this.over) return;
    this.heldSince = performance.now();
    this.call.clear();
    this.hush();
    this.tell.activity("Hearing you");
    if (this.responding) this.call.cancel();
    this.stopSpeaking();
  }

  release() {
    if (this.heldSince === null) return;
    const slip = performance.now() - this.heldSince < TAP_MS;
    setTimeout(() => {
      this.heldSince = null;
      this.hush();
      if (slip || this.over || !this.byHand) {
        this.tell.activity("Hold the button while you speak");
        return;
      }
      this.turns.speechStopped = this.sent.ms;
      this.committing = true;
      this.call.commit();
      this.tell.activity("Thinking");
    }, PACKET_MS);
  }

  // End the call, and give everything back.
  end() {
    if (this.over) return;
    this.over = true;
    this.call.hangUp();
    this.microphone?.close();
    this.context.close();
  }

  // The microphone is gone: a call that hears nothing ends.
  lost() {
    if (this.over) return;
    this.end();
    this.tell.over(0, "microphone_lost");
  }

  hush() {
    this.microphone.muted = this.muted || (this.byHand && this.heldSince === null);
  }

  // ------------------------------------------------------------ audio

  captured(pcm, end) {
    const { length } = pcm;
    if (this.call.append(pcm)) this.sent.sent(length, end);
  }

  played(kind, item, at) {
    if (kind === "audible") {
      const turn = this.turns.turnOf(item);
      const spoken = turn && turn.sentEndMs !== null ? this.sent.timeOf(turn.sentEndMs) : null;
      if (spoken !== null && this.turns.audible(item, (at - spoken) * 1000)) this.tell.turn(turn);
      this.tell.activity("Speaking");
    } else if (kind === "ended") {
      this.playing.delete(item);
      if (!this.playing.size) this.tell.activity("Listening");
    }
  }

  // The caller takes the floor: silence at once, and the server learns how much was heard.
  async stopSpeaking() {
    const cut = await this.speaker.stop();
    this.playing.clear();
    for (const { item, ms } of cut) this.call.truncate(item, ms);
  }

  // ------------------------------------------------------------ what the server says

  happened(event) {
    switch (event.type) {
      case "response.output_audio.delta":
        this.playing.add(event.item_id);
        this.speaker.add(event.item_id, fromBase64(event.delta));
        break;
      case "response.output_audio.done":
        this.speaker.end(event.item_id);
        break;
      case "input_audio_buffer.speech_started":
        this.stopSpeaking();
        break;
      case "response.created":
      case "response.done":
        this.responding = event.type === "response.created";
        break;
      case "stretto.Committed":
        // By hand, an answer is asked for once there are words to answer.
        if (this.committing) this.call.respond();
        this.committing = false;
        break;
      case "stretto.TurnIgnored":
        this.committing = false;
        break;
      case "error":
        if (!EXPECTED.includes(event.error.code)) this.note(`The server refuses something: ${event.error.message}`);
        break;
      case "stretto.Failure":
        this.note(`The ${event.part} failed (${event.message}); the call goes on.`);
        break;
      case "stretto.FramesDropped":
        this.note("The server cannot keep up: some of what you said was lost.");
        break;
    }
    const turn = this.turns.feed(event);
    if (turn) this.tell.turn(turn);
    const activity = ACTIVITIES[event.type]?.(event);
    if (activity) this.tell.activity(activity);
  }

  note(text) {
    this.tell.note(this.turns.last, text);
  }

  async closed(code, reason) {
    if (this.over) return;
    this.microphone.close();
    const until = performance.now() + DRAIN_MS;
    // The last words may still be on their way to the ear.
    while (code === 1000 && this.playing.size && performance.now() < until) await new Promise((resolve) => { setTimeout(resolve, 50); });
    if (this.over) return;
    this.end();
    this.tell.over(code, reason);
  }
}

// A context without a device to play on never starts, and never says so.
async function started(context) {
  const late = new Promise((resolve) => { setTimeout(resolve, START_MS); });
  await Promise.race([context.resume(), late]);
  if (context.state !== "running") throw new DOMException("the sound does not start", "NoSoundError");
}

const ACTIVITIES = {
  "stretto.CallerSpeaking": () => "Hearing you",
  "stretto.DraftDropped": () => "Hearing you",
  "stretto.SoftEnd": () => "Thinking",
  "stretto.TurnIgnored": () => "Heard no words",
  "stretto.ToolStarted": ({ name }) => `Asking ${name}`,
  "stretto.ToolFinished": () => "Thinking",
};

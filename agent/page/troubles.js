// What went wrong, in words that say what to do.

import { Refused } from "./call.js";

const GONE = "The server does not answer. See whether `stretto serve` still runs, then press Talk again.";
const ENDED = {
  hang_up: "The agent has hung up.",
  transfer: "The agent hands the call over to a person.",
  silence: "Nobody said anything, so the agent has hung up.",
  too_long: "The call has reached its longest time.",
  caller: "The server has ended the call.",
};

const SOUND = {
  NotAllowedError: [
    "The microphone is not allowed.",
    "Allow it for this page with the sign beside the address, then press Talk again.",
  ],
  NotFoundError: ["There is no microphone.", "Connect one, then press Talk again."],
  NoSoundError: [
    "The browser cannot play sound.",
    "Connect headphones or a loudspeaker, then press Talk again.",
  ],
  NotReadableError: [
    "The microphone cannot be opened.",
    "Another program may hold it: close that program, or choose another microphone in the system's settings.",
  ],
};

// Before the call: what a failure means: {title, advice, key}; `key`: a key is asked for.
export function trouble(error) {
  if (error instanceof Refused) return refused(error);
  const [title, advice] = SOUND[error?.name] ?? ["The call could not begin.", `The browser says: ${error?.message ?? error}`];
  return { title, advice };
}

// A browser that cannot make calls: null if it can.
export function missing() {
  if (!window.isSecureContext || !navigator.mediaDevices?.getUserMedia) {
    return {
      title: "The browser keeps the microphone from this page.",
      advice: "It gives it only to pages that come by https, or from this machine: open http://localhost with this port.",
    };
  }
  if (typeof AudioWorkletNode === "undefined" || !AbortSignal.timeout) {
    return { title: "This browser is too old.", advice: "Use a current Firefox, Chrome, Edge or Safari." };
  }
  return null;
}

// A connected call ended by itself: {title, advice} or, where all is well, {note}.
export function ended(code, reason) {
  if (code === 1000 && reason in ENDED) return { note: ENDED[reason] };
  if (code === 1001) return { note: "The server is shutting down: the call is over." };
  if (code === 1013) return { title: "The server is busy.", advice: `It says: ${reason}. Try again soon.` };
  if (reason === "stuck") {
    return { title: "The line is dead.", advice: "What you say does not get through. Check the network, then press Talk again." };
  }
  if (reason === "microphone_lost") {
    return {
      title: "The microphone is gone.",
      advice: "Connect it again, or choose another in the system's settings, then press Talk again.",
    };
  }
  if (code === 1011) return { title: "The server broke off the call.", advice: "Its log says why. Press Talk to try again." };
  return { title: "The server is gone.", advice: GONE };
}

function refused({ status, message }) {
  switch (status) {
    case 0:
      return { title: "The server is not there.", advice: GONE };
    case 401:
      return { title: "This server asks for a key.", advice: "", key: true };
    case 403:
      return { title: "This page may not call.", advice: `The server says: ${message}.` };
    case 429:
    case 503:
      return { title: "All lines are busy.", advice: `The server says: ${message}. Try again in a moment.` };
    default:
      return { title: "The server refuses the call.", advice: `It says: ${message}.` };
  }
}

// The OpenAI Realtime protocol as this page needs it, over one WebSocket.

const KEY = "openai-insecure-api-key."; // a browser cannot set headers on a WebSocket
const STUCK = 480000; // bytes that may wait (some 7 s of audio) before the line counts as dead
const CONNECT_MS = 15000;

// Somebody is not let in, or the server is not there; `status` is HTTP's, 0 without an answer.
export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

export class Call {
  // `event` gets every event of the server, `closed` once: (code, reason) after the call was connected.
  constructor({ event, closed }) {
    this.event = event;
    this.closed = closed;
    this.socket = null;
  }

  // Whether the server would let somebody with this key in. Throws Refused.
  static async check(key) {
    await fetchToken(key);
  }

  // Resolves when the server took the call. `key` may be empty. Throws Refused.
  async connect({ key, greet }) {
    const token = await fetchToken(key);
    const url = new URL("v1/realtime", document.baseURI);
    url.protocol = url.protocol.replace("http", "ws");
    url.search = new URLSearchParams([["model", "stretto"], ["stretto", "events"], ...(greet ? [["stretto", "greet"]] : [])]);
    const socket = new WebSocket(url, ["realtime", ...(token ? [KEY + token] : [])]);
    this.socket = socket;
    await opened(socket);
    socket.onmessage = ({ data }) => this.event(JSON.parse(data));
    socket.onclose = ({ code, reason }) => this.closed(code, reason);
  }

  get open() {
    return this.socket?.readyState === WebSocket.OPEN;
  }

  send(type, fields = {}) {
    if (this.open) this.socket.send(JSON.stringify({ type, ...fields }));
  }

  // Int16Array at 24 kHz; false if it could not be sent.
  append(pcm) {
    if (!this.open) return false;
    if (this.socket.bufferedAmount > STUCK) {
      this.drop(4000, "stuck");
      return false;
    }
    this.send("input_audio_buffer.append", { audio: toBase64(pcm) });
    return true;
  }

  // Who ends the caller's turns: the agent by listening (true), or the caller by hand.
  handsFree(free) {
    const detection = free ? { type: "semantic_vad" } : null;
    this.send("session.update", { session: { type: "realtime", audio: { input: { turn_detection: detection } } } });
  }

  clear() {
    this.send("input_audio_buffer.clear");
  }

  // The caller's turn is over, by hand.
  commit() {
    this.send("input_audio_buffer.commit");
  }

  // Answer what was said.
  respond() {
    this.send("response.create");
  }

  cancel() {
    this.send("response.cancel");
  }

  // The caller heard no more than `ms` of an item; the server answers with the words that those are.
  truncate(item, ms) {
    this.send("conversation.item.truncate", { item_id: item, content_index: 0, audio_end_ms: ms });
    this.send("conversation.item.retrieve", { item_id: item });
  }

  hangUp() {
    if (!this.socket) return;
    this.socket.onmessage = null;
    this.socket.onclose = null;
    this.socket.close(1000);
    this.socket = null;
  }

  // Give up on a line: a socket whose other end is gone would take minutes to close.
  drop(code, reason) {
    this.hangUp();
    this.closed(code, reason);
  }
}

// The samples of an audio event, as the speaker takes them.
export function fromBase64(text) {
  const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  const view = new DataView(bytes.buffer);
  const pcm = new Float32Array(bytes.length >> 1);
  for (let n = 0; n < pcm.length; n += 1) pcm[n] = view.getInt16(2 * n, true) / 32768;
  return pcm;
}

function toBase64(pcm) {
  return btoa(String.fromCharCode(...new Uint8Array(pcm.buffer)));
}

async function fetchToken(key) {
  if (/[^\x21-\x7e]/.test(key)) throw new Refused(401, "a key has only plain letters, digits and signs");
  const headers = key ? { Authorization: `Bearer ${key}` } : {};
  let answer;
  try {
    answer = await fetch("token", { headers, signal: AbortSignal.timeout(CONNECT_MS) });
  } catch {
    throw new Refused(0, "no answer");
  }
  const told = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Refused(answer.status, told.error?.message ?? answer.statusText);
  return told.token;
}

// A browser does not tell why a WebSocket was refused: whether the server lives is asked beside it.
function opened(socket) {
  return new Promise((resolve, reject) => {
    const late = setTimeout(() => socket.close(), CONNECT_MS);
    socket.onopen = () => {
      clearTimeout(late);
      resolve();
    };
    socket.onclose = async () => {
      clearTimeout(late);
      const alive = await fetch("healthz", { signal: AbortSignal.timeout(3000) }).catch(() => null);
      reject(alive?.ok ? new Refused(503, "the call was not taken") : new Refused(0, "no answer"));
    };
  });
}

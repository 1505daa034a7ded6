// What happened in the call, turn by turn: Stretto's own events become records. Pure: no page, no clock.

// Times are the server's (ms from the start of the call) except `heardMs`: voice to voice in this browser.
export class Turns {
  constructor() {
    this.records = new Map();
    this.items = new Map();
    this.responses = new Map();
    this.current = 0; // the turn that is being answered
    this.lastResponse = null;
    this.speechStopped = null;
  }

  get(number) {
    if (!this.records.has(number)) this.records.set(number, newTurn(number));
    return this.records.get(number);
  }

  get last() {
    return this.get(Math.max(0, ...this.records.keys()));
  }

  // Take an event of the server; the turn that it changed, if it changed one.
  feed(event) {
    if (event.type.startsWith("stretto.")) return this.own(event.type.slice(8), event);
    switch (event.type) {
      case "response.created":
        this.lastResponse = event.response.id;
        return null;
      case "response.output_item.added":
        return this.itemAdded(event);
      case "response.output_audio_transcript.delta":
        return this.said(event.item_id, (said) => { said.text += event.delta; });
      case "conversation.item.retrieved":
        // What the server keeps of an item after it was cut short where this page stopped.
        return this.said(event.item.id, (said) => {
          said.heard = event.item.content[0]?.transcript ?? "";
          said.settled = true;
        });
      case "input_audio_buffer.speech_stopped":
        this.speechStopped = event.audio_end_ms;
        return null;
      default:
        return null;
    }
  }

  // An item reached the ear for the first time; `heardMs` after the caller's last sound, where that is known.
  audible(name, heardMs) {
    const place = this.items.get(name);
    if (!place || place.turn.heardMs !== null) return null;
    place.turn.heardMs = heardMs;
    return place.turn;
  }

  turnOf(name) {
    return this.items.get(name)?.turn ?? null;
  }

  itemAdded({ item, response_id: response }) {
    if (item.type !== "message") return null;
    const turn = this.get(this.responses.get(response) ?? this.current);
    const said = { item: item.id, text: "", canned: false, heard: null, settled: false, told: false, withdrawn: false };
    turn.said.push(said);
    this.items.set(item.id, { turn, said });
    return turn;
  }

  said(name, change) {
    const place = this.items.get(name);
    if (!place) return null;
    change(place.said);
    return place.turn;
  }

  own(kind, event) {
    if (event.turn === undefined) return null;
    const turn = this.get(event.turn);
    const change = CHANGES[kind];
    if (!change) return null;
    change(turn, event, this);
    return turn;
  }
}

function newTurn(number) {
  return {
    number,
    speaking: false,
    partial: { stable: "", tentative: "" },
    caller: null,
    ignored: false,
    revisions: new Map(),
    drafts: [],
    committed: null,
    sentEndMs: null, // the caller's last sound, as a place in what this page sent
    tools: [],
    said: [],
    firstAudio: null,
    heardMs: null,
  };
}

function revisionOf(turn, number) {
  if (!turn.revisions.has(number)) {
    turn.revisions.set(number, { number, speechEnd: null, softEnd: null, transcript: null, dropped: false });
  }
  return turn.revisions.get(number);
}

// The draft that is being written for a revision; after a tool's result another one is.
function draftOf(turn, revision, forward) {
  const last = turn.drafts.at(-1);
  if (last && last.revision === revision && !last.ready && (last.passes.at(-1)?.forward ?? 0) < forward) return last;
  const draft = { revision, passes: [], ready: null, text: "", calls: [], forwards: 0 };
  turn.drafts.push(draft);
  return draft;
}

const CHANGES = {
  CallerSpeaking(turn) {
    turn.speaking = true;
  },
  CallerPartial(turn, { stable, tentative }) {
    turn.partial = { stable, tentative };
  },
  SoftEnd(turn, { revision, speech_end_ms: speechEnd, at_ms: at }) {
    turn.speaking = false;
    Object.assign(revisionOf(turn, revision), { speechEnd, softEnd: at });
  },
  CallerFinal(turn, { revision, text, at_ms: at }) {
    turn.partial = { stable: text, tentative: "" };
    revisionOf(turn, revision).transcript = at;
  },
  DenoisingPass(turn, { revision, forward, tokens, at_ms: at }) {
    draftOf(turn, revision, forward).passes.push({ forward, tokens, at });
  },
  DraftReady(turn, { revision, text, calls, forwards, at_ms: at }) {
    Object.assign(draftOf(turn, revision, Infinity), { ready: at, text, calls, forwards });
  },
  DraftDropped(turn, { revision, reopened }) {
    revisionOf(turn, revision).dropped = true;
    turn.speaking = true;
    if (!reopened) return;
    // The agent took the turn to be over and withdrew: what it said does not count.
    Object.assign(turn, { committed: null, caller: null, firstAudio: null, heardMs: null });
    for (const said of turn.said) Object.assign(said, { heard: said.heard ?? "", withdrawn: true, told: true });
  },
  Committed(turn, { revision, text, speculation, at_ms: at }, turns) {
    Object.assign(turn, { speaking: false, caller: text, committed: { at, revision, speculation } });
    turn.sentEndMs = turns.speechStopped;
    turns.speechStopped = null;
    turns.current = turn.number;
  },
  TurnIgnored(turn, _, turns) {
    Object.assign(turn, { speaking: false, ignored: true });
    turns.speechStopped = null;
  },
  Answering(turn, _, turns) {
    turns.current = turn.number;
    turns.responses.set(turns.lastResponse, turn.number);
  },
  ToolStarted(turn, { call_id: id, name, arguments: given, at_ms: at }) {
    turn.tools.push({ id, name, given, started: at, finished: null, result: null, error: null });
  },
  ToolFinished(turn, { call_id: id, result, error, at_ms: at }) {
    const tool = turn.tools.find((each) => each.id === id);
    if (tool) Object.assign(tool, { finished: at, result, error });
  },
  AgentSpeaking(turn, { text, canned, at_ms: at }) {
    turn.firstAudio ??= at;
    const said = turn.said.find((each) => each.text === text && !each.told);
    if (said) said.canned = canned;
  },
  AgentHeard(turn, { text, complete }) {
    const said = turn.said.find((each) => !each.told);
    if (!said) return;
    said.told = true;
    // Where this page stopped counts more than where the server thinks that it did.
    if (!said.settled) said.heard = complete ? said.text : text;
  },
};

// The passes to show: those of the revision that counts, or of the earlier one whose draft was kept.
export function shownDrafts(turn) {
  const newest = Math.max(0, ...turn.revisions.keys());
  const revision = turn.committed?.revision ?? newest;
  const mine = turn.drafts.filter((draft) => draft.revision === revision);
  const last = turn.drafts.slice(-1);
  // Drafts made while the caller speaks (revision 0) take each other's place.
  if (revision === 0) return last;
  if (mine.length) return mine;
  return turn.committed || last[0]?.revision === 0 ? last : mine;
}

// Steps from the caller's last sound to the agent's first, ms from the former; null before the turn is over.
export function steps(turn) {
  const revision = turn.committed && turn.revisions.get(turn.committed.revision);
  if (!revision || revision.speechEnd === null) return null;
  const since = (at) => (at === null ? null : at - revision.speechEnd);
  return {
    softEnd: since(revision.softEnd),
    transcript: since(revision.transcript),
    drafts: shownDrafts(turn).map((draft) => ({
      passes: draft.passes.map((pass) => since(pass.at)),
      ready: since(draft.ready),
      forwards: draft.forwards,
    })),
    commit: since(turn.committed.at),
    tools: turn.tools.map(({ name, started, finished, error }) => {
      return { name, from: since(started), to: since(finished), failed: error !== null };
    }),
    firstAudio: since(turn.firstAudio),
    heard: turn.heardMs,
    dropped: [...turn.revisions.values()].filter((each) => each.dropped).length,
  };
}

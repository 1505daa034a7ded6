// The conversation: a card for every turn, with what was said, heard, asked of tools, and how it was made.

import { CanvasView } from "./canvas.js";
import { element } from "./element.js";
import { timeline } from "./timeline.js";
import { shownDrafts, steps } from "./turns.js";

export class Transcript {
  // `list`: an <ol>; `captions`: a live region that gets every sentence once it is certain.
  constructor(list, captions) {
    this.list = list;
    this.captions = captions;
    this.cards = new Map();
    this.announced = new Set();
  }

  clear() {
    this.list.replaceChildren();
    this.captions.replaceChildren();
    this.cards.clear();
    this.announced.clear();
  }

  // Draw a turn as it is now.
  update(turn) {
    if (turn.ignored && !turn.said.length) {
      this.cards.get(turn.number)?.element.remove();
      this.cards.delete(turn.number);
      [...this.cards.values()].at(-1)?.unfold();
      return;
    }
    const atEnd = innerHeight + scrollY >= document.documentElement.scrollHeight - 160;
    let card = this.cards.get(turn.number);
    if (!card) {
      for (const other of this.cards.values()) other.fold();
      card = new TurnCard();
      this.cards.set(turn.number, card);
      this.list.append(card.element);
    }
    card.update(turn);
    this.announce(turn);
    if (atEnd) scrollTo({ top: document.documentElement.scrollHeight });
  }

  // Something about a turn that is neither said nor done, as a part that failed.
  note(turn, text) {
    this.update(turn);
    this.cards.get(turn.number)?.note(text);
  }

  announce(turn) {
    const lines = [[`caller ${turn.number}`, turn.caller && `You: ${turn.caller}`]];
    for (const said of turn.said) lines.push([said.item, said.text && `Stretto: ${said.text}`]);
    for (const [name, text] of lines) {
      if (!text || this.announced.has(name)) continue;
      this.announced.add(name);
      this.captions.append(element("p", {}, text));
      if (this.captions.children.length > 20) this.captions.firstChild.remove();
    }
  }
}

class TurnCard {
  constructor() {
    this.lines = element("div", { class: "lines" });
    this.notes = element("div", { class: "notes" });
    this.canvas = new CanvasView();
    this.chart = element("div", { class: "chart" });
    this.figure = element("span", { class: "figure" });
    const summary = element("summary", {}, element("span", {}, "How it was made"), this.figure);
    this.made = element("details", { class: "made", hidden: true, open: true }, summary, this.canvas.element, this.chart);
    this.element = element("li", { class: "turn" }, this.lines, this.notes, this.made);
  }

  // A later turn has the floor: only the words stay open.
  fold() {
    this.made.open = false;
  }

  unfold() {
    this.made.open = true;
  }

  note(text) {
    this.notes.append(element("p", {}, text));
  }

  update(turn) {
    const lines = [callerLine(turn), ...turn.said.filter((said) => said.withdrawn).map(agentLine)];
    const spoken = turn.said.filter((said) => !said.withdrawn);
    // What was said before the tools ran (one moment, please) stands before them.
    const early = turn.tools.length && spoken.length > 1 ? spoken.slice(0, -1) : [];
    lines.push(...early.map(agentLine), ...turn.tools.map(toolLine), ...spoken.slice(early.length).map(agentLine));
    this.lines.replaceChildren(...lines.filter(Boolean));
    const drafts = shownDrafts(turn);
    this.canvas.update(drafts);
    const measured = steps(turn);
    this.chart.replaceChildren(...(measured ? [timeline(measured), ...footnotes(measured, turn)] : []));
    this.figure.textContent = measured ? figure(measured) : "";
    this.made.hidden = !measured && !drafts.length;
  }
}

function callerLine(turn) {
  const { stable, tentative } = turn.partial;
  if (!turn.number && !turn.caller && !stable && !tentative) return null; // before the caller said anything
  const words = element("p", { class: "words" });
  if (turn.caller !== null) words.append(turn.caller || "(no words)");
  else if (stable || tentative) {
    words.append(element("span", { class: "stable" }, stable), stable && tentative ? " " : "");
    words.append(element("span", { class: "tentative" }, tentative));
  } else words.append(element("span", { class: "tentative" }, turn.ignored ? "(a sound without words)" : "…"));
  return element("div", { class: "line caller" }, element("span", { class: "who" }, "You"), words);
}

function agentLine(said) {
  const words = element("p", { class: "words" });
  const cut = heardPart(said);
  if (cut === null) words.append(said.text);
  else {
    words.append(cut.heard, cut.heard && cut.unheard ? " " : "");
    if (cut.unheard) words.append(element("s", { class: "unheard" }, cut.unheard));
  }
  if (said.withdrawn) words.append(" ", tag("withdrawn", "You went on, so this was taken back"));
  else if (cut?.unheard) words.append(" ", tag("cut short", "You spoke: the rest was not heard, and the agent knows"));
  if (said.canned) words.append(" ", tag("canned", "A fixed sentence, not written by the model"));
  return element("div", { class: "line agent" }, element("span", { class: "who" }, "Stretto"), words);
}

function tag(text, title) {
  return element("span", { class: "tag", title }, text);
}

// Where the caller stopped listening: {heard, unheard}; null while that is not known.
function heardPart({ text, heard, withdrawn }) {
  if (heard === null || (heard === text && !withdrawn)) return null;
  const count = heard.split(/\s+/).filter(Boolean).length;
  const words = text.split(/\s+/);
  return { heard: words.slice(0, count).join(" "), unheard: words.slice(count).join(" ") };
}

function toolLine(tool) {
  const given = Object.entries(tool.given).map(([key, value]) => `${key}: ${shown(value)}`).join(", ");
  const came = tool.error ?? tool.result ?? "…";
  const line = element("div", { class: tool.error ? "tool failed" : "tool" });
  line.append(element("code", {}, element("strong", {}, tool.name), `(${given})`));
  line.append(element("code", { class: "result" }, `→ ${shorten(came)}`));
  return line;
}

function footnotes({ dropped }, turn) {
  const notes = [];
  if (dropped) notes.push(`${dropped === 1 ? "One draft was" : `${dropped} drafts were`} dropped before: you went on.`);
  const { speculation } = turn.committed;
  if (speculation === "hit") notes.push("The reply was ready before the turn was over.");
  if (speculation === "revised") notes.push("The reply was revised while you spoke, and ready before the turn was over.");
  return notes.length ? [element("p", { class: "footnote" }, notes.join(" "))] : [];
}

function figure({ heard, firstAudio }) {
  const ms = heard ?? firstAudio;
  return ms === null ? "" : `${Math.round(ms)} ms voice to voice`;
}

function shown(value) {
  return typeof value === "string" ? value : JSON.stringify(value);
}

function shorten(text) {
  return text.length > 300 ? `${text.slice(0, 299)}…` : text;
}

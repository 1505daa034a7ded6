// One turn from the caller's last sound to the agent's first, as a small bar chart that is a table.

import { element } from "./element.js";

const GRIDS = [50, 100, 200, 250, 500, 1000, 2000, 5000, 10000];

export function timeline(steps) {
  const rows = rowsOf(steps);
  const end = Math.max(...rows.map((row) => row.to), 1);
  const grid = GRIDS.find((each) => end / each <= 6) ?? 60000;
  const last = end * 1.02;
  const place = (at) => `${((Math.max(0, at) / last) * 100).toFixed(2)}%`;
  const marks = Array.from({ length: Math.floor(end / grid) + 1 }, (_, n) => n * grid);
  const axis = element("div", { class: "plot axis" }, ...marks.map((at) => positioned("span", "tick", place(at), null, String(at))));
  const head = element("tr", {}, element("th", { scope: "col" }, "after your last sound"), element("td", { "aria-hidden": "true" }, axis), element("th", { scope: "col" }, "ms"));
  const body = rows.map((row) => {
    const bar = positioned("span", `bar ${row.kind}`, place(row.from), place(Math.max(0, row.to) - Math.max(0, row.from)));
    const ticks = (row.ticks ?? []).filter((at) => at >= 0).map((at) => positioned("span", "mark", place(at)));
    const lines = marks.map((at) => positioned("span", "grid", place(at)));
    const plot = element("div", { class: "plot" }, ...lines, bar, ...ticks);
    return element("tr", { class: row.kind === "total" ? "total" : null }, element("th", { scope: "row" }, row.name), element("td", { "aria-hidden": "true" }, plot), element("td", { class: "ms" }, told(row)));
  });
  const table = element("table", { class: "timeline" }, element("caption", { class: "unseen" }, "Timeline of this turn, milliseconds after your last sound"), element("thead", {}, head), element("tbody", {}, ...body));
  return table;
}

// {name, kind, from, to, ticks}: what took from when to when.
function rowsOf({ softEnd, transcript, drafts, commit, tools, firstAudio, heard }) {
  const rows = [{ name: "silence noticed", kind: "ears", from: 0, to: softEnd }];
  if (transcript !== null) rows.push({ name: "words final", kind: "ears", from: softEnd, to: transcript });
  const [first, ...later] = drafts.map((draft, number) => ({
    name: `${number ? "next draft" : "draft"} · ${plural(draft.forwards || draft.passes.length, "pass", "passes")}`,
    kind: "mind",
    from: number ? before(draft, tools) : Math.min(transcript ?? 0, draft.passes[0] ?? draft.ready ?? 0),
    to: draft.ready ?? draft.passes.at(-1),
    ticks: draft.passes,
  })).filter((row) => row.to !== null && row.to !== undefined);
  if (first) rows.push(first);
  rows.push({ name: "turn over", kind: "wait", from: 0, to: commit });
  for (const tool of tools) {
    rows.push({ name: tool.name, kind: tool.failed ? "work failed" : "work", from: tool.from, to: tool.to ?? tool.from });
  }
  rows.push(...later);
  if (firstAudio !== null) {
    const ready = drafts.map((draft) => draft.ready).filter((at) => at !== null && at <= firstAudio);
    rows.push({ name: "first sound sent", kind: "voice", from: Math.max(commit, ...ready), to: firstAudio });
  }
  if (heard !== null) rows.push({ name: "heard here", kind: "total", from: 0, to: heard });
  return rows;
}

// When what a later draft waited for was there: the results of tools.
function before({ passes, ready }, tools) {
  const begun = passes[0] ?? ready;
  return Math.max(0, ...tools.map((tool) => tool.to).filter((at) => at !== null && at <= begun)) || begun;
}

function plural(count, one, many) {
  return `${count} ${count === 1 ? one : many}`;
}

function told({ to }) {
  return to < 0 ? "before" : String(Math.round(to));
}

// The policy of the page forbids style attributes; the style object is allowed.
function positioned(tag, kind, left, width = null, text = "") {
  const made = element(tag, { class: kind }, text);
  made.style.left = left;
  if (width !== null) made.style.width = width;
  return made;
}

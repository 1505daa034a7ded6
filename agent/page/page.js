// The page: buttons and switches lead a call, and what happens in it is shown.

import { Meter, Meters } from "./meters.js";
import { Talk } from "./talk.js";
import { Transcript } from "./transcript.js";
import { ended, missing, trouble } from "./troubles.js";

const $ = (name) => document.getElementById(name);
const transcript = new Transcript($("turns"), $("captions"));
const meters = new Meters(new Meter($("caller-level")), new Meter($("agent-level")));
let talk = null;
let key = "";

// ------------------------------------------------------------ the call

async function begin() {
  $("trouble").hidden = true;
  $("door").hidden = true;
  const unable = missing();
  if (unable) {
    explain(unable);
    return;
  }
  transcript.clear();
  const mine = new Talk({
    turn: (turn) => transcript.update(turn),
    note: (turn, text) => transcript.note(turn, text),
    activity: (text) => { $("activity").textContent = text; },
    over: (code, reason) => over(ended(code, reason)),
  });
  talk = mine;
  mine.muted = pressed($("mute"));
  phase("calling", "Calling");
  try {
    await mine.begin({ key, greet: $("greet").checked, byHand: $("by-hand").checked, listening: listening() });
  } catch (error) {
    if (talk === mine) over(trouble(error));
    return;
  }
  if (talk !== mine) return;
  meters.start(mine.microphone.analyser, mine.speaker.analyser);
  phase("live", "Connected", $("by-hand").checked ? "Hold the button while you speak" : "Listening");
  // Whoever wants to hear or measure what this page plays may connect to it.
  dispatchEvent(new CustomEvent("stretto:audio", { detail: { context: mine.context, output: mine.speaker.output } }));
}

function hangUp(note = "You have hung up.") {
  talk?.end();
  over({ note });
}

function over(what) {
  talk = null;
  meters.stop();
  phase("idle", "Call ended", what.note ?? "");
  if (!what.note) explain(what);
}

// ------------------------------------------------------------ what is shown

function phase(name, status, activity = "") {
  document.body.dataset.phase = name;
  $("status").textContent = status;
  $("activity").textContent = activity;
  $("talk-name").textContent = name === "idle" ? "Talk" : "Hang up";
  $("mute").disabled = name !== "live";
  $("hold").hidden = !$("by-hand").checked;
  $("hold").disabled = name !== "live";
}

function explain({ title, advice, key: wanted }) {
  if (wanted) {
    $("door").hidden = false;
    $("door-trouble").textContent = key ? "This key is not known here. Check it, and try again." : "";
    $("key").focus();
    return;
  }
  $("trouble-title").textContent = title;
  $("trouble-advice").textContent = advice;
  $("trouble").hidden = false;
}

// ------------------------------------------------------------ controls

function listening() {
  return { echoCancellation: $("echo").checked, noiseSuppression: $("noise").checked };
}

function pressed(button) {
  return button.getAttribute("aria-pressed") === "true";
}

$("talk").addEventListener("click", () => (talk ? hangUp() : begin()));

$("door").addEventListener("submit", (event) => {
  event.preventDefault();
  key = $("key").value.trim();
  begin();
});

$("mute").addEventListener("click", () => {
  const muted = !pressed($("mute"));
  $("mute").setAttribute("aria-pressed", String(muted));
  talk?.mute(muted);
});

$("by-hand").addEventListener("change", () => {
  $("hold").hidden = !$("by-hand").checked;
  if (document.body.dataset.phase === "live") talk?.take($("by-hand").checked);
});

for (const name of ["echo", "noise"]) {
  $(name).addEventListener("change", async () => {
    if (document.body.dataset.phase !== "live") return;
    try {
      await talk.relisten(listening());
    } catch (error) {
      talk?.end();
      over(trouble(error));
    }
  });
}

const hold = $("hold");
const keys = (event) => event.key === " " || event.key === "Enter";
hold.addEventListener("pointerdown", (event) => {
  hold.setPointerCapture(event.pointerId);
  holding(true);
});
for (const kind of ["pointerup", "pointercancel", "blur"]) hold.addEventListener(kind, () => holding(false));
hold.addEventListener("keydown", (event) => {
  if (!keys(event)) return;
  event.preventDefault();
  if (!event.repeat) holding(true);
});
hold.addEventListener("keyup", (event) => keys(event) && holding(false));
hold.addEventListener("contextmenu", (event) => event.preventDefault()); // a long touch is no menu

function holding(held) {
  hold.classList.toggle("held", held);
  if (held) talk?.hold();
  else talk?.release();
}

const settings = document.querySelector(".settings");
settings.addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || !settings.open) return;
  settings.open = false;
  settings.querySelector("summary").focus();
});
addEventListener("pointerdown", (event) => {
  if (!settings.contains(event.target)) settings.open = false;
});

addEventListener("pagehide", () => talk?.end());
addEventListener("resize", () => meters.draw());
meters.draw();
phase("idle", "", "Press Talk, and say something.");

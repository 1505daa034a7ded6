"use strict";
(() => {
  const audio = document.getElementById("audio"), play = document.getElementById("play");
  const seek = document.getElementById("seek"), now = document.getElementById("now");
  const passes = JSON.parse(document.getElementById("passes").textContent);
  const pictures = [...document.querySelectorAll("svg.picture")].map((svg) => ({
    svg, head: svg.querySelector(".playhead"), from: +svg.dataset.from, to: +svg.dataset.to,
    left: +svg.dataset.left, right: +svg.dataset.right,
  }));
  const lines = [...document.querySelectorAll(".line")];
  const turns = [...document.querySelectorAll("section.turn")];
  const length = pictures[0].to;
  const clock = (ms) => `${Math.floor(ms / 60000)}:${String(Math.floor(ms / 1000) % 60).padStart(2, "0")}`;

  function go(ms) {
    audio.currentTime = Math.max(0, ms / 1000);
    draw();
  }

  function toggle() {
    if (audio.paused) audio.play(); else audio.pause();
  }

  // The canvas after one pass: settled words, blocks where nothing is settled yet. Null: the film as it was.
  function show(turn, pass) {
    const canvas = turn.querySelector(".canvas");
    if (!canvas || (canvas.dataset.shown || "") === (pass ? pass.id : "")) return;
    canvas.film = canvas.film || [...canvas.children];
    canvas.style.minHeight = canvas.style.minHeight || `${canvas.offsetHeight}px`;
    canvas.dataset.shown = pass ? pass.id : "";
    turn.querySelectorAll(".pass.now").forEach((line) => line.classList.remove("now"));
    if (!pass) return canvas.replaceChildren(...canvas.film);
    const mark = turn.querySelector(`[data-pass="${pass.id}"]`);
    if (mark) mark.classList.add("now");
    const line = document.createElement("div"), name = document.createElement("b");
    name.textContent = `pass ${pass.number}${pass.void ? ", dropped later" : ""}`;
    line.append(name);
    for (const token of pass.tokens) {
      const piece = document.createElement(token === null ? "s" : "span");
      piece.textContent = token === null ? "▒▒" : token;
      line.append(piece);
    }
    canvas.replaceChildren(line);
  }

  function draw() {
    const ms = audio.currentTime * 1000;
    for (const p of pictures) {
      const inside = ms >= p.from && ms <= p.to;
      const x = inside ? p.left + (ms - p.from) / (p.to - p.from) * (p.right - p.left) : -9;
      p.head.setAttribute("x1", x);
      p.head.setAttribute("x2", x);
    }
    for (const line of lines) line.classList.toggle("now", !audio.paused && ms >= line.dataset.at && ms <= line.dataset.end);
    turns.forEach((turn, index) => {
      const inside = ms >= turn.dataset.from && ms <= turn.dataset.to;
      turn.classList.toggle("now", inside && !audio.paused);
      if (audio.paused || !passes[index].length) return;
      const done = inside ? passes[index].filter((pass) => pass.at <= ms) : [];
      show(turn, done.length ? done[done.length - 1] : null);
    });
    now.textContent = clock(ms);
    seek.value = Math.round(ms / length * 1000);
  }

  function tick() {
    draw();
    if (!audio.paused) requestAnimationFrame(tick);
  }

  play.addEventListener("click", toggle);
  audio.addEventListener("play", () => {
    document.body.classList.add("playing");
    play.setAttribute("aria-label", "Pause");
    tick();
  });
  audio.addEventListener("pause", () => {
    document.body.classList.remove("playing");
    play.setAttribute("aria-label", "Play");
    draw();
  });
  audio.addEventListener("seeked", draw);
  seek.addEventListener("input", () => go(seek.value / 1000 * length));
  for (const line of lines) {
    line.addEventListener("click", () => {
      go(+line.dataset.at);
      audio.play();
    });
  }
  for (const p of pictures) {
    p.svg.addEventListener("click", (event) => {
      const box = p.svg.getBoundingClientRect(), width = p.svg.viewBox.baseVal.width;
      const x = (event.clientX - box.left) / box.width * width;
      go(Math.min(p.to, Math.max(p.from, p.from + (x - p.left) / (p.right - p.left) * (p.to - p.from))));
    });
  }
  turns.forEach((turn, index) => {
    const all = passes[index];
    turn.addEventListener("pointermove", (event) => {
      if (!audio.paused || !all.length) return;
      const p = pictures.find((picture) => picture.svg === turn.querySelector("svg.picture"));
      const box = p.svg.getBoundingClientRect();
      const x = (event.clientX - box.left) / box.width * p.svg.viewBox.baseVal.width;
      const ms = p.from + (x - p.left) / (p.right - p.left) * (p.to - p.from);
      const near = all.reduce((best, pass) => Math.abs(pass.at - ms) < Math.abs(best.at - ms) ? pass : best);
      show(turn, Math.abs(near.at - ms) < 60 ? near : null);
    });
    turn.addEventListener("pointerleave", () => audio.paused && show(turn, null));
  });
  document.addEventListener("keydown", (event) => {
    if (event.target.closest("input, button")) return;
    if (event.key === " ") { event.preventDefault(); toggle(); }
    if (event.key === "ArrowLeft") go(audio.currentTime * 1000 - 2000);
    if (event.key === "ArrowRight") go(audio.currentTime * 1000 + 2000);
  });
  draw();
})();

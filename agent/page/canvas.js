// The reply while it is written: every pass of the model over its canvas, at a pace that can be watched.

import { element } from "./element.js";

const SPECIAL = /^<\w+>$/; // tokens that are not text: the end of the reply, padding
const PASS_MS = 110; // a pass takes the model less than an eye

export class CanvasView {
  constructor() {
    this.passes = [];
    this.shown = -1;
    this.timer = null;
    this.name = element("span", { class: "pass" });
    this.slider = element("input", { type: "range", min: "1", max: "1", value: "1", "aria-label": "Denoising pass" });
    this.text = element("p", { class: "tokens", "aria-hidden": "true" });
    const head = element("figcaption", {}, element("span", { class: "what" }, "Canvas"), this.name, this.slider);
    this.element = element("figure", { class: "canvas", hidden: true }, head, this.text);
    this.slider.addEventListener("input", () => {
      this.halt();
      this.show(Number(this.slider.value) - 1);
    });
  }

  // The drafts to show; passes that are new are played, one after the other.
  update(drafts) {
    const passes = drafts.flatMap((draft, number) => draft.passes.map((pass) => ({ ...pass, draft: number, drafts: drafts.length })));
    const restarted = passes.length < this.passes.length || passes[0]?.at !== this.passes[0]?.at;
    if (!restarted && passes.length === this.passes.length) return;
    this.passes = passes;
    this.element.hidden = !passes.length;
    this.slider.max = String(Math.max(1, passes.length));
    this.slider.disabled = passes.length < 2;
    if (restarted) this.shown = -1;
    if (!passes.length) return;
    if (matchMedia("(prefers-reduced-motion: reduce)").matches) this.show(passes.length - 1);
    else this.play();
  }

  play() {
    if (this.timer !== null) return;
    const step = () => {
      this.timer = null;
      if (this.shown + 1 >= this.passes.length) return;
      this.show(this.shown + 1);
      this.timer = setTimeout(step, PASS_MS);
    };
    step();
  }

  halt() {
    clearTimeout(this.timer);
    this.timer = null;
  }

  show(number) {
    const pass = this.passes[number];
    const before = this.passes[number - 1];
    const earlier = before && before.draft === pass.draft ? before.tokens : [];
    this.shown = number;
    const pieces = pass.tokens.map((token, place) => piece(token, earlier[place])).filter(Boolean);
    if (pieces.length) pieces[0].textContent = pieces[0].textContent.trimStart();
    this.text.replaceChildren(...pieces);
    const open = pass.tokens.filter((token) => token === null).length;
    const draft = pass.drafts > 1 ? `draft ${pass.draft + 1}, ` : "";
    this.name.textContent = `${draft}pass ${pass.forward}`;
    this.slider.value = String(number + 1);
    this.slider.setAttribute("aria-valuetext", `${draft}pass ${pass.forward}: ${open} of ${pass.tokens.length} tokens are open`);
  }
}

function piece(token, before) {
  if (token === null) return element("span", { class: "mask" });
  if (SPECIAL.test(token)) return null;
  return element("b", { class: token === before ? null : "fresh" }, token);
}

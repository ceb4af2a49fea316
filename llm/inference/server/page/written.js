// A text of the model on the page. Each token can be pointed at, or reached with the arrow keys, to see how likely it
// was and what else might have come (inspector.js).

import { announce, button, el } from "./dom.js";
import { inspector } from "./inspector.js";
import { blocks } from "./markdown.js";
import { partsOf, percent, surprise, surpriseNames, visible } from "./tokens.js";

let count = 0;

export class Written {
  #drawn = []; // blocks that are on the page: {start, text, node}
  #parts = [];
  #current = null; // the token that the arrow keys have reached
  #isDue = false;
  #isColoured = false;

  /** `onAlternative(place, token)`: continue with another token. `isFormatted`: show Markdown. */
  constructor(writing, { label, onAlternative, isFormatted }) {
    count += 1;
    this.writing = writing;
    this.onAlternative = onAlternative;
    this.isFormatted = isFormatted;
    const help = el("span", { id: `keys-${count}`, class: "for-ears" }, "Arrow keys go from token to token.");
    const attributes = { role: "group", tabindex: 0, "aria-label": label, "aria-describedby": help.id };
    this.body = el("div", { class: "written", ...attributes, on: this.#handlers() });
    const levels = surpriseNames.map((name, level) => el("span", { class: `surprise-${level}` }, name));
    this.legend = el("p", { class: "legend", hidden: true }, "Probability: ", ...levels);
    this.element = el("div", {}, this.body, this.legend, help);
  }

  /** Draw before the next frame, however many tokens have come since the last one. */
  update() {
    if (this.#isDue) return;
    this.#isDue = true;
    requestAnimationFrame(() => {
      this.#isDue = false;
      this.draw();
    });
  }

  /** Draw what has changed: all blocks but the last ones stay as they are. */
  draw() {
    const { text, tokens } = this.writing;
    const isSource = this.#isColoured || !this.isFormatted;
    this.#parts = partsOf(tokens, text);
    this.body.classList.toggle("source", isSource);
    this.body.classList.toggle("coloured", this.#isColoured);
    this.body.classList.toggle("is-writing", this.writing.isWriting);
    const found = isSource ? this.#lines(text) : blocks(text);
    let same = 0;
    while (same < found.length - 1 && this.#isSame(this.#drawn[same], found[same], text, isSource)) same += 1;
    for (const { node } of this.#drawn.splice(same)) node.remove();
    for (const { start, end, build } of found.slice(same)) {
      const node = build((from, to) => this.#emit(from, to));
      this.body.append(node);
      this.#drawn.push({ start, text: text.slice(start, end), tokens: tokens[this.#partAt(start)?.first], node, isSource });
    }
  }

  #isSame(drawn, block, text, isSource) {
    const token = this.writing.tokens[this.#partAt(block.start)?.first];
    return (
      drawn?.start === block.start &&
      drawn.isSource === isSource &&
      drawn.tokens === token &&
      drawn.text === text.slice(block.start, block.end)
    );
  }

  /** Each line of the source is a block. */
  #lines(text) {
    const found = [];
    for (let start = 0; start < text.length; ) {
      const end = (text.indexOf("\n", start) + 1 || text.length + 1) - 1;
      const stop = Math.min(end + 1, text.length);
      const from = start;
      found.push({ start, end: stop, build: (emit) => el("span", {}, emit(from, stop)) });
      start = stop;
    }
    return found;
  }

  /** The part of the text from start to end, token by token. */
  #emit(start, end) {
    const fragment = document.createDocumentFragment();
    let at = start;
    for (let number = this.#firstPart(start); at < end && number < this.#parts.length; number += 1) {
      const part = this.#parts[number];
      if (part.start >= end) break;
      const stop = Math.min(part.end, end);
      fragment.append(this.#token(part, this.writing.text.slice(at, stop)));
      at = stop;
    }
    if (at < end) fragment.append(this.writing.text.slice(at, end));
    return fragment;
  }

  #token({ first, last }, text) {
    const logprob = this.writing.tokens.slice(first, last + 1).reduce((sum, each) => sum + each.logprob, 0);
    const classes = `token surprise-${surprise(logprob)}${first === this.#current ? " current" : ""}`;
    return el("span", { class: classes, "data-token": first }, text);
  }

  /** The number of the first part that ends after a place. */
  #firstPart(place) {
    let low = 0;
    let high = this.#parts.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#parts[middle].end <= place) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  #partAt(place) {
    return this.#parts[this.#firstPart(place)];
  }

  /** The elements of a token: several, where Markdown divides it. None, if only Markdown's signs are in it. */
  spans(place) {
    const part = this.#parts.find(({ first, last }) => first <= place && place <= last);
    return part ? [...this.body.querySelectorAll(`[data-token="${part.first}"]`)] : [];
  }

  /** Mark the token that is looked at. */
  mark(place) {
    for (const each of this.body.querySelectorAll(".token.current")) each.classList.remove("current");
    this.#current = place;
    if (place !== null) for (const each of this.spans(place)) each.classList.add("current");
  }

  /** A button that shows the text as the model wrote it, its tokens coloured by how unlikely they were. */
  colourButton() {
    const toggle = button("Colours", () => {
      this.#isColoured = !this.#isColoured;
      toggle.setAttribute("aria-pressed", this.#isColoured);
      this.legend.hidden = !this.#isColoured;
      inspector.close();
      this.draw();
    }, { class: "quiet", "aria-pressed": "false", title: "Colour each token by how unlikely it was" });
    return toggle;
  }

  // --- pointing and keys --------------------------------------------------------------------------------------------

  #handlers() {
    return {
      pointerover: (event) => event.pointerType === "mouse" && this.#hover(event),
      pointerleave: () => inspector.leave(),
      click: (event) => this.#click(event),
      keydown: (event) => this.#key(event),
    };
  }

  #hover(event) {
    const span = event.target.closest("[data-token]");
    if (span) inspector.hover(this, Number(span.dataset.token), span);
    else inspector.leave();
  }

  #click(event) {
    const span = event.target.closest("[data-token]");
    const isSelection = !document.getSelection().isCollapsed;
    if (!span || isSelection || event.target.closest("a")) return;
    this.#current = Number(span.dataset.token);
    inspector.open(this, this.#current, span);
  }

  #key(event) {
    if (event.target !== this.body || event.ctrlKey || event.metaKey || event.altKey) return;
    const last = this.writing.tokens.length - 1;
    const now = this.#current;
    const places = { ArrowRight: now === null ? 0 : now + 1, ArrowLeft: now === null ? last : now - 1 };
    const place = { ...places, Home: 0, End: last }[event.key];
    if (place !== undefined) this.#go(Math.min(Math.max(place, 0), last));
    else if (event.key === "Enter" && now !== null) inspector.enter();
    else if (event.key === "Escape") inspector.close();
    else return;
    event.preventDefault();
  }

  #go(place) {
    const token = this.writing.tokens[place];
    if (!token) return;
    this.#current = place;
    const span = this.spans(place)[0] ?? this.body;
    span.scrollIntoView({ block: "nearest" });
    inspector.open(this, place, span);
    announce(`${visible(token)}: ${percent(token.logprob)}. Enter: what else might have come.`);
  }
}

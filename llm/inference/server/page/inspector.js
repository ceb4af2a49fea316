// The card about a token: how likely it was, what else might have come, and where the model looked.
//
// It follows the mouse; a click, or the arrow keys, keep it open. On a phone it is a sheet at the bottom.

import { showAttention } from "./attention.js";
import { byId, button, el } from "./dom.js";
import { model } from "./model.js";
import { percent, visible } from "./tokens.js";

const GAP = 8; // pixels between the token and the card
const RANKS = ["the most likely here", "second most likely", "third most likely", "fourth most likely", "fifth most likely"];
const PATIENCE = 250; // milliseconds in which the mouse can go from the token to the card

class Inspector {
  #written = null;
  #place = null;
  #isKept = false;
  #leaving = null;

  get card() {
    return byId("inspector");
  }

  /** Listen; called once, when the page is there. */
  start() {
    this.card.addEventListener("pointerenter", () => clearTimeout(this.#leaving));
    this.card.addEventListener("pointerleave", () => this.leave());
    document.addEventListener("scroll", () => this.#move(), { capture: true, passive: true });
    window.addEventListener("resize", () => this.#move());
    document.addEventListener("keydown", (event) => event.key === "Escape" && this.#escape());
    document.addEventListener("pointerdown", (event) => {
      if (!this.card.contains(event.target) && !event.target.closest(".token, dialog")) this.close();
    });
  }

  hover(written, place, span) {
    clearTimeout(this.#leaving);
    if (!this.#isKept && !(written === this.#written && place === this.#place)) this.#show(written, place, span);
  }

  leave() {
    clearTimeout(this.#leaving);
    if (!this.#isKept) this.#leaving = setTimeout(() => this.close(), PATIENCE);
  }

  /** Show a token, and keep it. */
  open(written, place, span) {
    clearTimeout(this.#leaving);
    this.#show(written, place, span);
    this.#isKept = true;
  }

  /** Go into the card with the keyboard. */
  enter() {
    (this.card.querySelector("button.alternative") ?? this.card.querySelector("button")).focus();
  }

  close() {
    clearTimeout(this.#leaving);
    this.#written?.mark(null);
    this.#written = null;
    this.#isKept = false;
    this.card.hidden = true;
  }

  #escape() {
    if (document.querySelector("dialog[open]") || this.#written === null) return;
    const { body } = this.#written;
    if (this.card.contains(document.activeElement)) body.focus();
    this.close();
  }

  #show(written, place, span) {
    if (written !== this.#written) this.#written?.mark(null);
    this.#written = written;
    this.#place = place;
    written.mark(place);
    this.card.replaceChildren(...this.#content(written.writing.tokens[place]));
    this.card.hidden = false;
    this.#move(span);
  }

  /** Put the card below its token, or above it if there is no room. */
  #move(span = this.#written?.spans(this.#place)[0]) {
    if (this.card.hidden || !span) return;
    const token = span.getClientRects()[0] ?? span.getBoundingClientRect();
    const { width, height } = this.card.getBoundingClientRect();
    const left = Math.min(Math.max(token.left - 12, GAP), window.innerWidth - width - GAP);
    const isRoom = token.bottom + GAP + height < window.innerHeight;
    const top = isRoom ? token.bottom + GAP : Math.max(token.top - height - GAP, GAP);
    this.card.style.setProperty("--left", `${left}px`);
    this.card.style.setProperty("--top", `${top}px`);
  }

  // --- what is on the card ------------------------------------------------------------------------------------------

  #content(token) {
    const others = token.top.filter(({ id }) => id !== token.id);
    const rank = 1 + others.filter(({ logprob }) => logprob > token.logprob).length;
    const title = el("span", { class: "token-name" }, visible(token));
    const says = RANKS[rank - 1] ?? "less likely than all of these";
    const head = el("p", { class: "card-head" }, title, el("strong", {}, percent(token.logprob)), el("span", {}, says));
    const rows = others.length > 0 ? [el("h3", {}, "Or go on from here with"), this.#list(others)] : [];
    const look = button("Where did the model look?", () => this.#look(), { class: "quiet" });
    const close = button("Close", () => this.#leaveCard(), { class: "quiet" });
    return [head, ...rows, el("div", { class: "card-foot" }, look, close)];
  }


  #leaveCard() {
    const written = this.#written;
    this.close();
    written?.body.focus({ preventScroll: true });
  }

  #list(others) {
    return el("ul", {}, ...others.map((other) => el("li", {}, this.#alternative(other))));
  }

  #alternative(other) {
    const isEnd = model.end_ids.includes(other.id);
    const name = el("span", { class: "token-name" }, isEnd ? "end of the text" : visible(other));
    const share = Math.exp(other.logprob);
    const bar = el("span", { class: "bar", "aria-hidden": "true" });
    bar.style.setProperty("--share", share);
    const label = `${isEnd ? "end of the text" : visible(other)}, ${percent(other.logprob)}: continue from here`;
    const row = button("", () => this.#choose(other), { class: "alternative", "aria-label": label, title: "Continue from here" });
    row.append(name, bar, el("span", { class: "share" }, percent(other.logprob)));
    return row;
  }

  #choose(other) {
    const [written, place] = [this.#written, this.#place];
    this.close();
    written.body.focus({ preventScroll: true });
    written.onAlternative(place, other);
  }

  /** Attention of this token, among all tokens before it. */
  async #look() {
    const { writing } = this.#written;
    const place = this.#place;
    this.close();
    await showAttention(async () => {
      const before = await writing.prompt();
      return { tokens: [...before, ...writing.tokens], position: before.length + place };
    });
  }
}

export const inspector = new Inspector();

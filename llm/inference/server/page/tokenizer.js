// The tokens of a text in colours: how the model sees it. Each can be asked where the model looks when it reads it.

import { ApiError, postJson } from "./api.js";
import { showAttention } from "./attention.js";
import { announce, byId, el, grow } from "./dom.js";
import { hex, partsOf, tokensOfText, visible } from "./tokens.js";

const COLOURS = 6;
const PATIENCE = 200; // milliseconds without a key before the server is asked

let tokens = [];
let control = null;
let timer = null;
let current = null;

export function startTokenizer() {
  const area = byId("source");
  area.addEventListener("input", () => {
    grow(area);
    clearTimeout(timer);
    timer = setTimeout(ask, PATIENCE);
  });
  const place = byId("coloured");
  place.addEventListener("pointerover", (event) => event.target.dataset.token && tell(Number(event.target.dataset.token)));
  place.addEventListener("click", (event) => event.target.dataset.token && look(Number(event.target.dataset.token)));
  place.addEventListener("keydown", key);
}

/** Called when this part of the page is opened. */
export function openTokenizer() {
  grow(byId("source"));
  if (tokens.length === 0) ask();
}

async function ask() {
  const text = byId("source").value;
  control?.abort();
  control = new AbortController();
  try {
    tokens = tokensOfText((await postJson("/page/tokens", { text }, control.signal)).tokens);
    byId("tokenizer-error").hidden = true;
    paint(text);
  } catch (error) {
    if (error.name === "AbortError") return;
    byId("tokenizer-error").textContent = error instanceof ApiError ? error.message : "The tokens cannot be shown.";
    byId("tokenizer-error").hidden = false;
  }
}

/** A span for each token. A character that is spread over several tokens is shown once, in a frame. */
function paint(text) {
  const spans = partsOf(tokens, text).map(({ start, end, first, last }, number) => {
    const piece = text.slice(start, end);
    const shown = piece.replace(/\n/g, "↵\n");
    const classes = `token colour-${number % COLOURS}${last > first ? " several" : ""}`;
    return el("span", { class: classes, "data-token": first, "data-last": last }, shown);
  });
  current = null;
  byId("coloured").replaceChildren(...spans);
  byId("about-token").textContent = "Point at a token, or use the arrow keys; a click shows where the model looks.";
  const plural = (count, name) => `${count.toLocaleString("en")} ${name}${count === 1 ? "" : "s"}`;
  const bytes = new TextEncoder().encode(text).length;
  byId("counts").textContent = [
    plural(tokens.length, "token"),
    plural([...text].length, "character"),
    plural(bytes, "byte"),
  ].join(" · ");
}

const describe = (place) => {
  const { id, bytes } = tokens[place];
  return `Token ${place + 1}: ${visible(tokens[place])} · id ${id} · bytes ${hex(bytes)}`;
};

function tell(place) {
  current = place;
  const span = spanOf(place);
  for (const each of byId("coloured").querySelectorAll(".current")) each.classList.remove("current");
  span?.classList.add("current");
  const last = Number(span?.dataset.last ?? place);
  const more = last > Number(span?.dataset.token) ? ` · a part of a character of ${last - Number(span.dataset.token) + 1} tokens` : "";
  byId("about-token").textContent = describe(place) + more;
}

function spanOf(place) {
  return [...byId("coloured").children].find(({ dataset }) => Number(dataset.token) <= place && place <= Number(dataset.last));
}

function key(event) {
  const now = current ?? -1;
  const places = { ArrowRight: now + 1, ArrowLeft: now - 1, Home: 0, End: tokens.length - 1 };
  if (event.key in places && tokens.length > 0) {
    tell(Math.min(Math.max(places[event.key], 0), tokens.length - 1));
    announce(describe(current));
  } else if (event.key === "Enter" && current !== null) {
    look(current);
  } else {
    return;
  }
  event.preventDefault();
}

const look = (position) => showAttention(async () => ({ tokens, position }));

// Where the model looks when it reads a token: the weights of one head of one layer, over the token and all before it.

import { ApiError, postJson } from "./api.js";
import { byId, el } from "./dom.js";
import { model } from "./model.js";
import { hex, visible, visibleText } from "./tokens.js";

const MOST_LISTED = 5;

const view = { tokens: [], position: 0, weights: [], control: null };

/** Listen; called once, when the page and the model are there. */
export function startAttention() {
  const { layer, head } = fields();
  layer.max = model.layers;
  head.max = model.heads;
  layer.value = Math.ceil(model.layers / 2);
  for (const field of [layer, head]) field.addEventListener("input", ask);
  byId("attention-first").addEventListener("change", paint);
  byId("attention-close").addEventListener("click", () => byId("attention").close());
  byId("attention-text").addEventListener("click", (event) => {
    const span = event.target.closest("[data-place]");
    if (span) choose(Number(span.dataset.place));
  });
  byId("attention-before").addEventListener("click", () => choose(view.position - 1));
  byId("attention-after").addEventListener("click", () => choose(view.position + 1));
}

const fields = () => ({ layer: byId("attention-layer"), head: byId("attention-head") });

/** Open the dialog. `find`: a function that gives {tokens, position}; it may ask the server. */
export async function showAttention(find) {
  byId("attention").showModal();
  byId("attention-text").replaceChildren();
  byId("attention-list").replaceChildren();
  try {
    Object.assign(view, await find());
  } catch (error) {
    return fail(error);
  }
  byId("attention-text").replaceChildren(...view.tokens.map(spanOf));
  choose(view.position);
}

function spanOf(token, place) {
  const text = tokenText(token);
  return el("span", { class: "token", "data-place": place }, text.endsWith("\n") ? `${visibleText(text)}\n` : text);
}

/** The text of a token among others; its bytes if it is a part of a character. */
function tokenText({ bytes }) {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return `⟨${hex(bytes)}⟩`;
  }
}

function choose(place) {
  view.position = Math.min(Math.max(place, 0), view.tokens.length - 1);
  byId("attention-token").textContent = visible(view.tokens[view.position]);
  byId("attention-before").disabled = view.position === 0;
  byId("attention-after").disabled = view.position === view.tokens.length - 1;
  ask().then(() => byId("attention-text").children[view.position]?.scrollIntoView({ block: "nearest" }));
}

/** Ask the server for the weights, and show them; a question that is not yet answered is given up. */
async function ask() {
  const { layer, head } = fields();
  byId("attention-layer-value").textContent = `${layer.value} of ${model.layers}`;
  byId("attention-head-value").textContent = `${head.value} of ${model.heads}`;
  view.control?.abort();
  view.control = new AbortController();
  const ids = view.tokens.slice(0, view.position + 1).map(({ id }) => id);
  const which = { layer: layer.value - 1, head: head.value - 1 }; // counted from 0 by the server
  try {
    const answer = await postJson("/page/attention", { ids, position: view.position, ...which }, view.control.signal);
    view.weights = answer.weights;
    byId("attention-error").hidden = true;
    paint();
  } catch (error) {
    if (error.name !== "AbortError") fail(error);
  }
}

function paint() {
  const isWithoutFirst = byId("attention-first").checked && view.position > 1;
  const most = Math.max(...view.weights.slice(isWithoutFirst ? 1 : 0), 1e-9);
  [...byId("attention-text").children].forEach((span, place) => {
    const weight = place <= view.position ? (view.weights[place] ?? 0) : 0;
    span.classList.toggle("current", place === view.position);
    span.classList.toggle("later", place > view.position);
    span.style.setProperty("--weight", isWithoutFirst && place === 0 ? 0 : Math.min(weight / most, 1).toFixed(3));
    span.title = place <= view.position ? `${share(weight)} of the attention` : "comes later: the model cannot look there";
  });
  list();
}

/** The largest weights as text. */
function list() {
  const order = view.weights.map((weight, place) => ({ weight, place })).sort((a, b) => b.weight - a.weight);
  const rows = order.slice(0, MOST_LISTED).map(({ weight, place }) => {
    const which = place === view.position ? " (itself)" : place === 0 ? " (the first token)" : "";
    const bar = el("span", { class: "bar", "aria-hidden": "true" });
    bar.style.setProperty("--share", weight);
    const name = el("span", {}, el("span", { class: "token-name" }, visible(view.tokens[place])), which);
    return el("li", {}, name, bar, el("span", { class: "share" }, share(weight)));
  });
  byId("attention-list").replaceChildren(...rows);
}

const share = (weight) => `${(100 * weight).toFixed(weight < 0.1 ? 1 : 0)}%`;

function fail(error) {
  const place = byId("attention-error");
  place.textContent = error instanceof ApiError ? error.message : "The attention cannot be shown.";
  place.hidden = false;
  if (!(error instanceof ApiError)) throw error;
}

// A picture of what the settings do, on an example: eight tokens that could come next, and their probabilities before
// (an outline) and after (filled). It does what llm/inference/sampling.py does, in the same order.

import { el } from "./dom.js";

// For "The cat sat on the ...", which may be true of some model.
const EXAMPLE = { mat: 0.38, floor: 0.22, sofa: 0.14, bed: 0.1, roof: 0.07, moon: 0.05, piano: 0.03, idea: 0.01 };

/** The probabilities after temperature, top-k, top-p and min-p. `before` goes from the most likely to the least. */
export function reshape(before, { temperature, top_k: topK, top_p: topP, min_p: minP }) {
  if (temperature === 0) return before.map((_, place) => (place === 0 ? 1 : 0));
  let left = normal(before.map((probability) => (probability / before[0]) ** (1 / temperature)));
  if (topK > 0) left = normal(left.map((probability, place) => (place < topK ? probability : 0)));
  let sum = 0; // of all that are more likely: while they have less than top-p, the next one is kept
  left = normal(left.map((probability) => ((sum += probability) - probability < topP ? probability : 0)));
  return normal(left.map((probability) => (probability < minP * left[0] ? 0 : probability)));
}

function normal(values) {
  const sum = values.reduce((a, b) => a + b, 0);
  return values.map((value) => value / sum);
}

export function drawPreview(place, settings) {
  const names = Object.keys(EXAMPLE);
  const before = Object.values(EXAMPLE);
  const after = reshape(before, settings);
  const rows = names.map((name, number) => {
    const bar = el("span", { class: "bar" });
    bar.style.setProperty("--share", after[number]);
    bar.style.setProperty("--before", before[number]);
    const share = after[number] === 0 ? "–" : `${Math.round(100 * after[number]) || "<1"}%`;
    return el("li", { class: after[number] === 0 ? "left-out" : "" }, el("span", {}, name), bar, el("span", { class: "share" }, share));
  });
  place.replaceChildren(...rows);
}

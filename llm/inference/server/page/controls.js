// How the next token is chosen: a control for each setting, with a sentence that says what its value does.

import { byId, el } from "./dom.js";
import { model } from "./model.js";
import { drawPreview } from "./preview.js";

const number = (value) => Number(value).toLocaleString("en", { maximumFractionDigits: 2 });

const RANDOM_SEEDS = 100_000; // short ones can be typed again

/** The settings with a slider. `off`: the value that changes nothing. */
const SLIDERS = [
  {
    name: "temperature", label: "Temperature", min: 0, max: 2, step: 0.05, off: 1,
    says: (value) => {
      if (value === 0) return "Always the most likely token: the same answer each time.";
      if (value < 1) return "Likely tokens become more likely: the text is more careful.";
      if (value === 1) return "The probabilities as the model gives them.";
      return "Unlikely tokens become more likely: the text is bolder, and errs more.";
    },
  },
  {
    name: "top_p", label: "Top-p", min: 0.05, max: 1, step: 0.05, off: 1,
    says: (value) =>
      value === 1
        ? "Off: no token is left out."
        : `Only the most likely tokens that together have ${number(100 * value)}% of the probability.`,
  },
  {
    name: "top_k", label: "Top-k", min: 0, max: 100, step: 1, off: 0,
    says: (value) => {
      if (value === 0) return "Off: any number of tokens can be chosen from.";
      return value === 1 ? "Only the most likely token." : `Only the ${value} most likely tokens.`;
    },
  },
  {
    name: "min_p", label: "Min-p", min: 0, max: 0.5, step: 0.01, off: 0,
    says: (value) =>
      value === 0
        ? "Off: no token is too unlikely."
        : `No token that is less than ${number(100 * value)}% as likely as the most likely one.`,
  },
  {
    name: "repetition_penalty", label: "Repetition penalty", min: 1, max: 2, step: 0.05, off: 1,
    says: (value) =>
      value === 1 ? "Off: words may come again." : "Tokens that are in the text already, prompt included, become less likely.",
  },
  {
    name: "frequency_penalty", label: "Frequency penalty", min: -2, max: 2, step: 0.1, off: 0,
    says: (value) => {
      if (value === 0) return "Off: it does not matter how often a token was written.";
      return `A token becomes ${value > 0 ? "less" : "more"} likely each time that the model writes it.`;
    },
  },
  {
    name: "presence_penalty", label: "Presence penalty", min: -2, max: 2, step: 0.1, off: 0,
    says: (value) => {
      if (value === 0) return "Off: it does not matter whether a token was written.";
      return `A token that the model has written once becomes ${value > 0 ? "less" : "more"} likely.`;
    },
  },
];

/** Make the controls, with the values that the server has. */
export function startControls() {
  byId("sliders").replaceChildren(...SLIDERS.map(control));
  byId("controls").addEventListener("input", tell);
  byId("controls").addEventListener("submit", (event) => event.preventDefault());
  byId("reset").addEventListener("click", () => {
    for (const slider of SLIDERS) byId(slider.name).value = initial(slider);
    for (const id of ["seed", "stop"]) byId(id).value = "";
    byId("max_tokens").value = byId("max_tokens").defaultValue;
    tell();
  });
  tell();
}

const initial = (slider) => model.sampling[slider.name] ?? slider.off;

function control(slider) {
  const { name, label, min, max, step } = slider;
  const range = el("input", { type: "range", id: name, min, max, step, "aria-describedby": `${name}-says` });
  range.value = initial(slider);
  const top = el("div", { class: "control-head" }, el("label", { for: name }, label), el("output", { for: name, id: `${name}-value` }));
  return el("div", { class: "control" }, top, range, el("p", { id: `${name}-says`, class: "says" }));
}

/** Say what the values do. */
function tell() {
  const values = sampling();
  for (const { name, says } of SLIDERS) {
    byId(`${name}-value`).textContent = number(values[name]);
    byId(`${name}-says`).textContent = says(values[name]);
  }
  const seed = readSeed();
  byId("seed-says").textContent =
    seed === null ? "A new seed for each answer, so a retry gives another one." : "The same seed and settings give the same answer.";
  byId("stop-says").textContent =
    stops().length > 0 ? "The text ends before any of these." : "Texts that end the answer, one in a line.";
  drawPreview(byId("preview"), values);
}

function sampling() {
  return Object.fromEntries(SLIDERS.map(({ name }) => [name, Number(byId(name).value)]));
}

const stops = () => byId("stop").value.split("\n").filter((line) => line !== "");

function readSeed() {
  const text = byId("seed").value.trim();
  return /^\d{1,15}$/.test(text) ? Number(text) : null;
}

/** The fields of a request. */
export function settings() {
  const seed = readSeed() ?? Math.floor(Math.random() * RANDOM_SEEDS);
  const most = Math.max(1, Math.round(Number(byId("max_tokens").value)) || 1);
  return { ...sampling(), max_tokens: most, seed, stop: stops() };
}

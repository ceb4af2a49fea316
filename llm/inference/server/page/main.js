// Where the page begins: it asks the server for its model, and puts the parts of the page to work.
//
//   main.js        this file                        dom.js       making elements
//   chat.js        the conversation                 api.js       requests, and errors as sentences
//   playground.js  a text that is continued         stream.js    a text piece by piece
//   tokenizer.js   the tokens of a text             tokens.js    tokens and their texts
//   attention.js   where the model looks            writing.js   a text that the model writes
//   inspector.js   the card about a token           written.js   the same text on the page
//   controls.js    how the next token is chosen     markdown.js, inline.js   Markdown as elements
//   preview.js     a picture of that                model.js     what the server says about its model

import { startAttention } from "./attention.js";
import { startChat } from "./chat.js";
import { startControls } from "./controls.js";
import { byId } from "./dom.js";
import { inspector } from "./inspector.js";
import { loadModel, model, sizeOf } from "./model.js";
import { startPlayground } from "./playground.js";
import { openTokenizer, startTokenizer } from "./tokenizer.js";

const PARTS = ["chat", "playground", "tokenizer"];
const WIDE = "(min-width: 1080px)"; // as in layout.css: there is room for the settings beside the text

/** Show one part of the page. */
function choose(name) {
  inspector.close();
  for (const part of PARTS) {
    const tab = byId(`tab-${part}`);
    tab.setAttribute("aria-selected", part === name);
    tab.tabIndex = part === name ? 0 : -1;
    byId(part).hidden = part !== name;
  }
  if (name === "tokenizer") openTokenizer();
  byId("settings-button").classList.toggle("gone", name === "tokenizer"); // its place stays
  if (name === "tokenizer" || !matchMedia(WIDE).matches) showSettings(false);
}

/** Tabs as screen readers know them: the arrow keys go from one to the other. */
function startTabs() {
  for (const [number, part] of PARTS.entries()) {
    const tab = byId(`tab-${part}`);
    tab.addEventListener("click", () => choose(part));
    tab.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: PARTS.length - 1 }[event.key];
      if (step === undefined) return;
      const next = PARTS[(number + step) % PARTS.length];
      choose(next);
      byId(`tab-${next}`).focus();
    });
  }
  byId("to-playground").addEventListener("click", () => {
    choose("playground");
    byId("text").focus();
  });
}

function showSettings(isShown) {
  byId("settings").hidden = !isShown;
  byId("settings-button").setAttribute("aria-expanded", isShown);
}

function startSettings() {
  byId("settings-button").addEventListener("click", () => {
    showSettings(byId("settings").hidden);
    if (!byId("settings").hidden && !matchMedia(WIDE).matches) byId("settings-close").focus();
  });
  byId("settings-close").addEventListener("click", closeSettings);
  byId("settings").addEventListener("keydown", (event) => event.key === "Escape" && closeSettings());
}

function closeSettings() {
  showSettings(false);
  byId("settings-button").focus();
}

async function start() {
  try {
    await loadModel();
  } catch (error) {
    byId("trouble").textContent = error.message;
    byId("trouble").hidden = false;
    return;
  }
  byId("model").textContent = model.name;
  byId("model").title = `${sizeOf(model.parameters)}, ${model.layers} layers, a context of ${model.context} tokens`;
  byId("size").textContent = sizeOf(model.parameters);
  document.title = `${model.name} · minigrad`;
  startControls();
  startChat();
  startPlayground();
  startTokenizer();
  startAttention();
  inspector.start();
  startTabs();
  startSettings();
  choose(model.chat ? "chat" : "playground");
  byId("app").hidden = false;
  byId(model.chat ? "message" : "text").focus();
}

await start();

// The playground: the reader begins a text, and the model continues it. Nothing is put around the text.

import { settings } from "./controls.js";
import { announce, byId, grow, Speaker } from "./dom.js";
import { inspector } from "./inspector.js";
import { factsOf, Writing } from "./writing.js";
import { Written } from "./written.js";

let writing = null;
let written = null;
let speaker = null;

export function startPlayground() {
  const area = byId("text");
  byId("playground-form").addEventListener("submit", (event) => {
    event.preventDefault();
    if (writing?.isWriting) writing.stop();
    else write();
  });
  area.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
    event.preventDefault();
    if (!writing?.isWriting) write();
  });
  area.addEventListener("input", () => grow(area));
  byId("write-on").addEventListener("click", () => {
    speaker = new Speaker();
    writing.continueAfter(writing.tokens, settings());
  });
  byId("take-over").addEventListener("click", takeOver);
  byId("clear").addEventListener("click", clear);
  show();
}

function write() {
  clear();
  speaker = new Speaker();
  writing = new Writing({ text: byId("text").value }, changed);
  written = new Written(writing, {
    label: "What the model wrote",
    isFormatted: false,
    onAlternative: (place, alternative) => {
      speaker = new Speaker();
      writing.continueFrom(place, alternative, settings());
    },
  });
  byId("beginning").textContent = byId("text").value;
  byId("continuation").append(written.element);
  byId("colour-place").replaceChildren(written.colourButton());
  writing.begin(settings());
  grow(byId("text"));
}

function changed(which) {
  if (which !== writing) return;
  if (writing.isWriting) written.update();
  else written.draw();
  if (writing.isWriting) speaker.grow(writing.text);
  else speaker.finish(writing.text);
  if (writing.state === "error") announce(writing.error);
  show();
}

/** Make what the model wrote a part of the text, to be changed by hand. */
function takeOver() {
  const area = byId("text");
  area.value = byId("beginning").textContent + writing.text;
  clear();
  grow(area);
  area.focus();
  area.setSelectionRange(area.value.length, area.value.length);
}

function clear() {
  inspector.close();
  const before = writing;
  writing = written = null;
  before?.stop();
  byId("continuation").replaceChildren();
  byId("colour-place").replaceChildren();
  show();
}

function show() {
  const isWriting = writing?.isWriting ?? false;
  byId("sheet").hidden = writing === null;
  const send = byId("write");
  send.textContent = isWriting ? "Stop" : writing ? "Write again" : "Write";
  send.classList.toggle("stop", isWriting);
  for (const id of ["write-on", "take-over", "clear"]) byId(id).hidden = writing === null || isWriting;
  byId("playground-error").hidden = !writing?.error;
  byId("playground-error").textContent = writing?.error ?? "";
  byId("playground-facts").textContent = writing ? factsOf(writing) : "";
}

// A conversation: messages of the reader, each of which can be edited, and answers of the model, each of which can be
// stopped, written again, or continued from another token. What comes after such a change is dropped.

import { settings } from "./controls.js";
import { announce, button, byId, el, grow, Speaker } from "./dom.js";
import { inspector } from "./inspector.js";
import { model } from "./model.js";
import { factsOf, Writing } from "./writing.js";
import { Written } from "./written.js";

const SUGGESTIONS = [
  "Why is the sky blue?",
  "Write a short poem about the sea.",
  "Give me three tips for better sleep, as a list.",
];
const NEAR = 80; // pixels from the end within which the page follows the text

/** The conversation: {role: "user", content, element} and {role: "assistant", writing, written, element}. */
const messages = [];
let current = null; // the answer that is being written

export function startChat() {
  const area = byId("message");
  byId("composer").addEventListener("submit", (event) => {
    event.preventDefault();
    if (current) current.writing.stop();
    else send();
  });
  area.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    if (!current) send();
  });
  area.addEventListener("input", () => grow(area));
  byId("new-chat").addEventListener("click", () => {
    dropFrom(0);
    area.focus();
  });
  byId("suggestions").append(...SUGGESTIONS.map((text) => button(text, () => ask(text), { class: "suggestion" })));
  byId("composer").hidden = byId("suggestions").hidden = byId("intro").hidden = !model.chat;
  byId("no-template").hidden = model.chat;
  show();
}

function send() {
  const area = byId("message");
  const text = area.value;
  if (text.trim() === "") return;
  area.value = "";
  grow(area);
  ask(text);
}

function ask(text) {
  add({ role: "user", content: text });
  answer();
}

/** Let the model write the next message. */
function answer() {
  const message = { role: "assistant", speaker: new Speaker() };
  const system = byId("system").value.trim();
  const before = messages.map(({ role, content, writing }) => ({ role, content: content ?? writing.text }));
  const source = { messages: [...(system ? [{ role: "system", content: system }] : []), ...before] };
  message.writing = new Writing(source, () => changed(message));
  add(message);
  message.writing.begin(settings());
}

/** Each piece of an answer, and its end. */
function changed(message) {
  const { writing, written, speaker } = message;
  const isAtEnd = isNearEnd();
  current = writing.isWriting ? message : current === message ? null : current;
  if (writing.isWriting) written?.update();
  else written?.draw();
  if (written) drawFoot(message);
  if (isAtEnd) toEnd();
  show();
  if (writing.isWriting) speaker.grow(writing.text);
  else speaker.finish(writing.text);
  if (writing.state === "error") announce(writing.error);
}

// --- changes --------------------------------------------------------------------------------------------------------

function add(message) {
  messages.push(message);
  message.element = message.role === "user" ? userElement(message) : answerElement(message);
  byId("conversation").append(message.element);
  show();
  toEnd();
}

/** Remove this message and all after it. */
function dropFrom(place) {
  inspector.close();
  for (const { element, writing } of messages.splice(place)) {
    writing?.stop();
    element.remove();
  }
  show();
}

const dropAfter = (message) => dropFrom(messages.indexOf(message) + 1);

function retry(message) {
  dropFrom(messages.indexOf(message));
  answer();
  byId("message").focus({ preventScroll: true });
}

function continueFrom(message, place, alternative) {
  dropAfter(message);
  message.speaker = new Speaker();
  message.writing.continueFrom(place, alternative, settings());
}

/** Let the model write on where an answer was cut. */
function goOn(message) {
  dropAfter(message);
  message.writing.continueAfter(message.writing.tokens, settings());
  byId("message").focus({ preventScroll: true });
}

/** Let the reader change a message; the model then answers the new one. */
function edit(message) {
  const area = el("textarea", { class: "edit", "aria-label": "Your message", rows: 2, value: message.content });
  const leave = () => {
    const next = userElement(message);
    message.element.replaceWith(next);
    message.element = next;
    next.querySelector("button").focus();
  };
  const save = () => {
    if (area.value.trim() === "") return;
    dropFrom(messages.indexOf(message));
    ask(area.value);
    byId("message").focus({ preventScroll: true });
  };
  area.addEventListener("input", () => grow(area));
  area.addEventListener("keydown", (event) => {
    if (event.key === "Escape") leave();
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      save();
    }
  });
  const foot = el("div", { class: "foot" }, button("Send", save, { class: "small primary" }), button("Cancel", leave, { class: "quiet" }));
  message.element.replaceChildren(area, foot);
  grow(area);
  area.focus();
}

// --- elements -------------------------------------------------------------------------------------------------------

function userElement(message) {
  const text = el("div", { class: "bubble" }, message.content);
  const foot = el("div", { class: "foot" }, button("Edit", () => edit(message), { class: "quiet" }));
  return el("article", { class: "user", "aria-label": "You" }, text, foot);
}

function answerElement(message) {
  message.written = new Written(message.writing, {
    label: "Answer",
    isFormatted: true,
    onAlternative: (place, alternative) => continueFrom(message, place, alternative),
  });
  message.error = el("p", { class: "error", role: "alert", hidden: true });
  message.foot = el("div", { class: "foot" });
  message.facts = el("span", { class: "facts" });
  const again = button("Retry", () => retry(message), { class: "quiet" });
  const copy = button("Copy", () => navigator.clipboard.writeText(message.writing.text).then(() => announce("copied")), { class: "quiet" });
  copy.hidden = !navigator.clipboard; // browsers have it for https and this machine alone
  message.goOn = button("Go on", () => goOn(message), { class: "quiet" });
  message.foot.append(again, message.goOn, message.written.colourButton(), copy, message.facts);
  return el("article", { class: "answer", "aria-label": model.name }, message.written.element, message.error, message.foot);
}

function drawFoot({ writing, element, error, facts, goOn }) {
  goOn.hidden = writing.state === "stop" || writing.tokens.length === 0;
  element.classList.toggle("busy", writing.isWriting);
  error.hidden = writing.error === null;
  error.textContent = writing.error ?? "";
  facts.textContent = factsOf(writing);
}

/** What depends on whether there are messages, and whether one is being written. */
function show() {
  byId("welcome").hidden = messages.length > 0;
  byId("new-chat").hidden = messages.length === 0;
  const send = byId("send");
  send.textContent = current ? "Stop" : "Send";
  send.classList.toggle("stop", current !== null);
}

const isNearEnd = () => {
  const { scrollTop, scrollHeight, clientHeight } = byId("chat-scroll");
  return scrollHeight - scrollTop - clientHeight < NEAR;
};

function toEnd() {
  requestAnimationFrame(() => requestAnimationFrame(() => byId("chat-scroll").scrollTo({ top: 1e9 })));
}

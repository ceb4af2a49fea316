// Making elements, and speaking to screen readers.
//
// Text always becomes text: nothing on this page reads HTML, so nothing that a model writes can become a part of it.

const byProperty = new Set(["value", "checked", "disabled", "hidden", "htmlFor", "textContent", "className"]);

/** A new element. `properties`: attributes, some as properties (above), and `on: {event: function}`. */
export function el(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name === "on") {
      for (const [event, handler] of Object.entries(value)) element.addEventListener(event, handler);
    } else if (byProperty.has(name)) {
      element[name] = value;
    } else if (value !== null && value !== false) {
      element.setAttribute(name, value === true ? "" : value);
    }
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

/** A button that does not send a form. */
export function button(text, onClick, properties = {}) {
  return el("button", { type: "button", on: { click: onClick }, ...properties }, text);
}

export const byId = (id) => document.getElementById(id);

/** Let a screen reader say a text when it has finished what it says now. */
export function announce(text) {
  const place = byId("announcer");
  place.append(el("p", {}, text));
  while (place.children.length > 12) place.firstChild.remove();
}

/** Says a text that grows, sentence by sentence: single tokens would be a stammer. */
export class Speaker {
  said = 0;

  grow(text) {
    const rest = text.slice(this.said);
    const ends = [...rest.matchAll(/[.!?:;]\s|\n/g)];
    if (ends.length > 0) this.#say(text, this.said + ends.at(-1).index + 1);
  }

  finish(text) {
    this.#say(text, text.length);
  }

  #say(text, end) {
    const part = text.slice(this.said, end).trim();
    this.said = end;
    if (part) announce(part);
  }
}

/** A text area as high as its text, for browsers without `field-sizing: content`. */
export function grow(area) {
  if (CSS.supports("field-sizing", "content")) return;
  area.style.height = "auto";
  area.style.height = `${area.scrollHeight + 2}px`;
}

// Markdown within lines: `code`, **bold**, *italics*, ~~struck~~, [links](https://...), and the \ before a sign.

import { el } from "./dom.js";

const FARTHEST = 2000; // characters to the sign that closes: a text of signs alone must not take long
const MOST_NESTED = 6;
const PUNCTUATION = /[!-/:-@[-`{-~]/;
const MARKS = [
  ["**", "strong"],
  ["__", "strong"],
  ["~~", "del"],
  ["*", "em"],
  ["_", "em"],
];

/** The nodes for lines of the source, which belong to one paragraph. */
export function inline(source, lines, emit) {
  const { text, places } = joined(source, lines);
  const nodes = [];
  const write = (start, end) => {
    for (let at = start; at < end; ) {
      let stop = at + 1; // what is next to each other here, but not in the source, becomes two texts
      while (stop < end && places[stop] === places[stop - 1] + 1) stop += 1;
      nodes.push(emit(places[at], places[stop - 1] + 1));
      at = stop;
    }
  };
  return new Inline(text, nodes, write).run(0, text.length, 0);
}

/** The lines as one text, and for each of its characters the place in the source. */
function joined(source, lines) {
  let text = "";
  const places = [];
  lines.forEach((line, number) => {
    const end = number < lines.length - 1 ? Math.min(line.end + 1, source.length) : line.end;
    text += source.slice(line.start, end);
    for (let at = line.start; at < end; at += 1) places.push(at);
  });
  return { text, places };
}

class Inline {
  constructor(text, nodes, write) {
    this.text = text;
    this.nodes = nodes;
    this.write = write;
  }

  /** The nodes of a part of the text. */
  run(start, end, depth) {
    const first = this.nodes.length;
    let plain = start;
    for (let at = start; at < end; ) {
      const found = depth < MOST_NESTED ? this.special(at, end) : null;
      if (found === null) {
        at += 1;
        continue;
      }
      this.write(plain, at);
      this.build(found, depth);
      at = plain = found.next;
    }
    this.write(plain, end);
    return this.nodes.splice(first);
  }

  /** What begins at a sign: {tag, start, end, next}, its text being from start to end; or null. */
  special(at, end) {
    const sign = this.text[at];
    if (sign === "\\" && at + 1 < end && PUNCTUATION.test(this.text[at + 1])) {
      return { tag: null, start: at + 1, end: at + 2, next: at + 2 };
    }
    if (sign === "`") return this.code(at, end);
    if (sign === "[") return this.link(at, end);
    if (sign === "h") return this.address(at, end);
    if (sign === "*" || sign === "_" || sign === "~") return this.marked(at, end);
    return null;
  }

  code(at, end) {
    const fence = /^`+/.exec(this.text.slice(at, at + 20))[0];
    const close = this.find(fence, at + fence.length, end);
    if (close < 0) return null;
    return { tag: "code", start: at + fence.length, end: close, next: close + fence.length };
  }

  marked(at, end) {
    for (const [mark, tag] of MARKS) {
      if (!this.text.startsWith(mark, at) || !this.opens(mark, at)) continue;
      for (let close = at; (close = this.find(mark, close + mark.length, end)) > 0; ) {
        if (this.closes(mark, at, close)) {
          return { tag, start: at + mark.length, end: close, next: close + mark.length };
        }
      }
    }
    return null;
  }

  opens(mark, at) {
    const after = this.text[at + mark.length] ?? " ";
    return /\S/.test(after) && (mark[0] !== "_" || !/\w/.test(this.text[at - 1] ?? " "));
  }

  closes(mark, at, close) {
    const after = this.text[close + mark.length] ?? " ";
    if (close === at + mark.length || /\s/.test(this.text[close - 1])) return false;
    if (mark.length === 1 && (after === mark || this.text[close - 1] === mark)) return false; // of a double one
    return mark[0] !== "_" || !/\w/.test(after);
  }

  link(at, end) {
    const middle = this.find("](", at + 1, end);
    const close = middle < 0 ? -1 : this.find(")", middle + 2, end);
    if (close < 0 || this.text.slice(at + 1, middle).includes("[")) return null;
    const href = safeAddress(this.text.slice(middle + 2, close).trim().split(/\s/)[0]);
    return href && { tag: "a", href, start: at + 1, end: middle, next: close + 1 };
  }

  /** An address that stands in the text as it is. */
  address(at, end) {
    const found = /^https?:\/\/[^\s<>"'`)\]]+/.exec(this.text.slice(at, Math.min(end, at + FARTHEST)));
    if (!found || /\w/.test(this.text[at - 1] ?? " ")) return null;
    const next = at + found[0].replace(/[.,;:!?*_]+$/, "").length;
    const href = safeAddress(this.text.slice(at, next));
    return href && { tag: "a", href, start: at, end: next, next };
  }

  find(sign, from, end) {
    const place = this.text.slice(from, Math.min(end, from + FARTHEST)).indexOf(sign);
    return place < 0 ? -1 : from + place;
  }

  build({ tag, href, start, end }, depth) {
    if (tag === null || tag === "code" || tag === "a") {
      const first = this.nodes.length;
      this.write(start, end); // as it is
      if (tag !== null) this.nodes.push(el(tag, href ? linkTo(href) : {}, ...this.nodes.splice(first)));
    } else {
      this.nodes.push(el(tag, {}, ...this.run(start, end, depth + 1)));
    }
  }
}

/** The address, if it is one of http or https; else null. */
function safeAddress(text) {
  try {
    const address = new URL(text);
    return ["http:", "https:"].includes(address.protocol) ? address.href : null;
  } catch {
    return null;
  }
}

/** A model may lead anywhere: the other page learns nothing of this one, and where it is can be read before a click. */
const linkTo = (href) => ({ href, title: href, target: "_blank", rel: "noopener noreferrer nofollow" });

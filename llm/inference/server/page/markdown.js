// Markdown, as far as models write it, as elements: paragraphs, headings, lists, quotes, code, rules, and within lines
// code, bold, italics, strikethrough and links.
//
// Elements are made by `el` alone, never by HTML, and links lead only to http and https. Each text keeps its place in
// the source: `emit(start, end)` makes the nodes for that part of it, so that who calls can tell the tokens apart.

import { el } from "./dom.js";
import { inline } from "./inline.js";

const FENCE = /^ {0,3}(```+|~~~+)\s*([\w+#.-]*)/;
const HEADING = /^ {0,3}(#{1,6})\s+/;
const RULE = /^ {0,3}([-*_])( *\1){2,} *$/;
const ITEM = /^( *)([-*+]|\d{1,9}[.)])( +|$)/;
const QUOTE = /^ {0,3}> ?/;
const MOST_NESTED = 8; // lists in lists; deeper ones stay text

/** The blocks of a text: {start, end, build}, in order. */
export function blocks(source, depth = 0, lines = linesOf(source)) {
  const found = [];
  for (let at = 0; at < lines.length; ) {
    if (isBlank(source, lines[at])) {
      at += 1;
      continue;
    }
    const block = read(source, lines, at, depth);
    found.push({ start: lines[at].start, end: lines[block.next - 1].end, build: block.build });
    at = block.next;
  }
  return found;
}

function linesOf(source) {
  const lines = [];
  for (let start = 0; start <= source.length; ) {
    const found = source.indexOf("\n", start);
    const end = found < 0 ? source.length : found;
    lines.push({ start, end });
    start = end + 1;
  }
  return lines;
}

const textOf = (source, line) => source.slice(line.start, line.end);
const isBlank = (source, line) => textOf(source, line).trim() === "";
const without = (line, length) => ({ start: Math.min(line.start + length, line.end), end: line.end });

/** The block that begins at a line: how to build it, and the line after it. */
function read(source, lines, at, depth) {
  const text = textOf(source, lines[at]);
  if (FENCE.test(text)) return code(source, lines, at);
  if (HEADING.test(text)) return heading(source, lines, at);
  if (RULE.test(text)) return { next: at + 1, build: () => el("hr") };
  if (depth < MOST_NESTED && QUOTE.test(text)) return quote(source, lines, at, depth);
  if (depth < MOST_NESTED && ITEM.test(text)) return list(source, lines, at, depth);
  return paragraph(source, lines, at, depth);
}

/** Code between two fences, or up to the end. */
function code(source, lines, at) {
  const [, fence, language] = FENCE.exec(textOf(source, lines[at]));
  const closes = (line) => {
    const text = textOf(source, line).trim();
    return text.length >= fence.length && text === fence[0].repeat(text.length);
  };
  let last = at + 1;
  while (last < lines.length && !closes(lines[last])) last += 1;
  const inside = lines.slice(at + 1, last);
  const build = (emit) => {
    const body = el("code", {});
    inside.forEach((line, number) => {
      body.append(emit(line.start, line.end));
      if (number < inside.length - 1) body.append("\n");
    });
    const label = language || "code";
    const attributes = { class: "code-block", "data-language": label };
    return el("div", attributes, el("pre", { tabindex: 0, "aria-label": `${label}:` }, body));
  };
  return { next: Math.min(last + 1, lines.length), build };
}

function heading(source, lines, at) {
  const [mark, signs] = HEADING.exec(textOf(source, lines[at]));
  const line = without(lines[at], mark.length);
  line.end = line.start + textOf(source, line).replace(/\s+#+\s*$/, "").length;
  // The page's own headings are of level 1 and 2.
  const build = (emit) => el(`h${Math.min(signs.length + 2, 6)}`, {}, ...inline(source, [line], emit));
  return { next: at + 1, build };
}

function quote(source, lines, at, depth) {
  let next = at;
  const inside = [];
  while (next < lines.length && QUOTE.test(textOf(source, lines[next]))) {
    inside.push(without(lines[next], QUOTE.exec(textOf(source, lines[next]))[0].length));
    next += 1;
  }
  const build = (emit) => el("blockquote", {}, ...children(source, inside, depth, emit));
  return { next, build };
}

/** A list: items of one kind, and whatever is indented below them. */
function list(source, lines, at, depth) {
  const [, indent, sign] = ITEM.exec(textOf(source, lines[at]));
  const isNumbered = /\d/.test(sign);
  const items = [];
  let next = at;
  while (next < lines.length) {
    const text = textOf(source, lines[next]);
    const mark = ITEM.exec(text);
    const isInside = /^ /.test(text) && text.search(/\S/) > indent.length;
    if (mark && mark[1].length <= indent.length && !RULE.test(text)) {
      if (/\d/.test(mark[2]) !== isNumbered) break;
      items.push([without(lines[next], mark[0].length)]);
    } else if (isInside || (isBlank(source, lines[next]) && goesOn(source, lines, next, indent.length, isNumbered))) {
      const width = Math.min(Math.max(text.search(/\S/), 0), indent.length + sign.length + 1);
      items.at(-1).push(without(lines[next], width));
    } else if (mark || isBlank(source, lines[next]) || isBlank(source, lines[next - 1]) || begins(text)) {
      break;
    } else {
      items.at(-1).push(lines[next]); // a lazy line goes on with the item's paragraph
    }
    next += 1;
  }
  const build = (emit) => {
    const made = items.map((item) => el("li", {}, ...children(source, item, depth, emit)));
    return isNumbered ? el("ol", { start: parseInt(sign, 10) }, ...made) : el("ul", {}, ...made);
  };
  return { next, build };
}

/** Whether after empty lines the list goes on. */
function goesOn(source, lines, at, indent, isNumbered) {
  let next = at;
  while (next < lines.length && isBlank(source, lines[next])) next += 1;
  if (next === lines.length) return false;
  const text = textOf(source, lines[next]);
  const mark = ITEM.exec(text);
  if (mark && mark[1].length <= indent) return /\d/.test(mark[2]) === isNumbered && !RULE.test(text);
  return text.search(/\S/) > indent;
}

const begins = (text) => FENCE.test(text) || HEADING.test(text) || RULE.test(text) || QUOTE.test(text);

function paragraph(source, lines, at, depth) {
  let next = at + 1;
  while (next < lines.length && !isBlank(source, lines[next])) {
    const text = textOf(source, lines[next]);
    if (begins(text) || (depth < MOST_NESTED && ITEM.test(text) && !/^ *\d{1,9}[.)]$/.test(text.trimEnd()))) break;
    next += 1;
  }
  const inside = lines.slice(at, next).map((line) => without(line, textOf(source, line).search(/\S/)));
  return { next, build: (emit) => el("p", {}, ...inline(source, inside, emit)) };
}

/** What is within an item or a quote. A single paragraph needs no element of its own. */
function children(source, lines, depth, emit) {
  const inside = blocks(source, depth + 1, lines).map((block) => block.build(emit));
  if (inside.length > 0 && inside[0].tagName === "P") inside.splice(0, 1, ...inside[0].childNodes);
  return inside;
}

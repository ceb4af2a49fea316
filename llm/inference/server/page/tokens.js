// Tokens: {id, bytes, logprob, top}. `top` are the most likely tokens at the same place, each {id, bytes, logprob}.
//
// A token is a piece of bytes, which need not be whole characters, so its text is found only among its neighbours.

/** From the log-probabilities of a chat: an object for each token. */
export function tokensOfChat(logprobs) {
  const token = ({ id, bytes, logprob }) => ({ id, bytes: Uint8Array.from(bytes), logprob });
  return (logprobs?.content ?? []).map((entry) => ({ ...token(entry), top: entry.top_logprobs.map(token) }));
}

/** From the log-probabilities of a completion: lists, with a place for each token. */
export function tokensOfCompletion(logprobs) {
  return (logprobs?.tokens ?? []).map((name, place) => {
    const ids = logprobs.top_ids[place] ?? {};
    const top = Object.entries(logprobs.top_logprobs[place] ?? {}).map(([other, logprob]) => ({
      id: ids[other],
      bytes: bytesOf(other),
      logprob,
    }));
    top.sort((a, b) => b.logprob - a.logprob);
    return { id: logprobs.token_ids[place], bytes: bytesOf(name), logprob: logprobs.token_logprobs[place], top };
  });
}

/** From the answer of /page/tokens or /page/prompt. */
export function tokensOfText(described) {
  return described.map(({ id, bytes }) => ({ id, bytes: Uint8Array.from(bytes), logprob: null, top: [] }));
}

/** The bytes of a token by its name: its text, or "bytes:\xf0\x9f" for a part of a character. */
export function bytesOf(name) {
  if (!/^bytes:(\\x[0-9a-f]{2})+$/.test(name)) return new TextEncoder().encode(name);
  return Uint8Array.from(name.slice(6).split("\\x").slice(1), (hex) => parseInt(hex, 16));
}

/** The text of tokens. */
export function textOf(tokens) {
  const decoder = newDecoder();
  return tokens.map((token) => decoder.decode(token.bytes, { stream: true })).join("") + decoder.decode();
}

const newDecoder = () => new TextDecoder("utf-8", { ignoreBOM: true });

/**
 * Which part of `text` is whose: {start, end, first, last}, from token `first` to `last`. Most parts have one token; a
 * character whose bytes are spread over several has all of these.
 */
export function partsOf(tokens, text) {
  const decoder = newDecoder();
  const parts = [];
  let end = 0;
  let first = 0;
  tokens.forEach((token, last) => {
    let piece = decoder.decode(token.bytes, { stream: true });
    if (piece === "") return; // ends within a character, and so belongs to the next part
    if (end === 0 && piece.startsWith(" ") && !text.startsWith(" ")) piece = piece.slice(1); // SentencePiece
    const start = end;
    end = Math.min(start + piece.length, text.length);
    if (end > start) parts.push({ start, end, first, last });
    first = last + 1;
  });
  return parts;
}

/** A token for the eye: its spaces and line breaks can be seen, and its bytes if they are no text. */
export function visible(token) {
  if (token.bytes.length === 0) return "(no text)";
  try {
    return visibleText(new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(token.bytes));
  } catch {
    return hex(token.bytes);
  }
}

export const visibleText = (text) => text.replace(/ /g, "·").replace(/\n/g, "↵").replace(/\t/g, "→");

export const hex = (bytes) => [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join(" ");

/** A probability for the eye. */
export function percent(logprob) {
  const value = 100 * Math.exp(logprob);
  if (value >= 99.95) return "100%";
  if (value < 0.1) return "<0.1%";
  return `${value < 10 ? value.toFixed(1) : value.toFixed(0)}%`;
}

const surpriseLimits = [0.8, 0.4, 0.15, 0.04];

/** How much a token surprises, from 0 (it was to be expected) to 4. */
export function surprise(logprob) {
  const probability = Math.exp(logprob ?? 0);
  return surpriseLimits.filter((limit) => probability < limit).length;
}

/** What each of these numbers means. */
export const surpriseNames = [...surpriseLimits.map((limit) => `${100 * limit}% or more`), "less"];

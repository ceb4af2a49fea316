// A text that the model writes: its tokens, and how it came to its end. It can be stopped, and continued from any token.

import { ApiError, postJson } from "./api.js";
import { model } from "./model.js";
import { pieces } from "./stream.js";
import { textOf, tokensOfText } from "./tokens.js";

export class Writing {
  text = "";
  tokens = [];
  /** "writing", or at the end "stop" (the model ended it), "length", "stopped" (the reader did) or "error". */
  state = "writing";
  error = null;
  seed = null;
  perSecond = null;
  #control = null;
  #prompt = null;
  #isStripped = null; // whether the text lacks the space of its first token: SentencePiece begins a text so

  /** `source`: what is continued, {messages} or {text}. `onChange` is called with each piece, and at the end. */
  constructor(source, onChange) {
    this.source = source;
    this.onChange = onChange;
  }

  get isWriting() {
    return this.#control !== null;
  }

  /** The tokens before this text. */
  async prompt() {
    this.#prompt ??= tokensOfText((await postJson("/page/prompt", this.source)).tokens);
    return this.#prompt;
  }

  /** Write from the beginning. `settings`: see controls.js. */
  async begin(settings) {
    if (this.source.messages) {
      const logprobs = { logprobs: true, top_logprobs: 5 };
      await this.#run([], "/v1/chat/completions", () => ({ messages: this.source.messages, ...logprobs }), settings);
    } else {
      await this.#run([], "/v1/completions", () => ({ prompt: this.source.text, logprobs: 5 }), settings);
    }
  }

  /** Write on after these tokens of this text. */
  async continueAfter(tokens, settings) {
    const body = async () => ({ prompt: [...(await this.prompt()), ...tokens].map(({ id }) => id), logprobs: 5 });
    await this.#run(tokens, "/v1/completions", body, settings);
  }

  /** Write on, with another token at a place. The end of the text is a token too, after which nothing follows. */
  async continueFrom(place, alternative, settings) {
    const before = this.tokens.slice(0, place);
    if (model.end_ids.includes(alternative.id)) {
      this.stop();
      Object.assign(this, { tokens: before, text: this.#textOf(before), state: "stop", error: null, perSecond: null });
      this.onChange(this);
      return;
    }
    const { id, bytes, logprob } = alternative;
    await this.continueAfter([...before, { id, bytes, logprob, top: this.tokens[place].top }], settings);
  }

  stop() {
    this.#control?.abort();
  }

  async #run(tokens, path, body, settings) {
    this.stop();
    const control = new AbortController();
    this.#control = control;
    this.#restart(tokens, settings.seed);
    try {
      for await (const piece of pieces(path, { ...(await body()), ...settings }, control.signal)) {
        if (control !== this.#control) return; // continued from elsewhere meanwhile
        this.#add(piece);
      }
    } catch (error) {
      if (control === this.#control) this.#fail(error);
    }
    if (control !== this.#control) return;
    this.#control = null;
    this.onChange(this);
  }

  #restart(tokens, seed) {
    if (tokens.length === 0) this.#isStripped = null;
    const text = this.#textOf(tokens);
    // Tokens that end within a character: the rest of it is in the next ones, and the text is found with them.
    this.endsWithin = text.endsWith("\ufffd");
    Object.assign(this, { tokens: [...tokens], text, state: "writing", error: null, seed, perSecond: null });
    this.began = null;
    this.count = 0;
    this.onChange(this);
  }

  #add({ text, tokens, finish }) {
    this.began ??= performance.now();
    const written = tokens.filter(({ id }) => finish === null || !model.end_ids.includes(id));
    this.tokens.push(...written);
    this.text = this.endsWithin ? this.#textOf(this.tokens) : this.text + text;
    if (this.text !== "") this.#isStripped ??= !this.text.startsWith(" ") && textOf(this.tokens).startsWith(" ");
    this.count += written.length;
    const seconds = (performance.now() - this.began) / 1000;
    this.perSecond = this.count > 1 && seconds > 0 ? (this.count - 1) / seconds : null; // the first one began it
    if (finish !== null) this.state = finish;
    this.onChange(this);
  }

  #textOf(tokens) {
    const text = textOf(tokens);
    return this.#isStripped ? text.replace(/^ /, "") : text;
  }

  #fail(error) {
    const isStop = error.name === "AbortError";
    this.state = isStop ? "stopped" : "error";
    if (isStop) return;
    this.error = error instanceof ApiError ? error.message : "The connection to the server broke.";
    if (!(error instanceof ApiError || error instanceof TypeError)) throw error;
  }
}

const ENDINGS = {
  writing: "writing…",
  stop: "",
  length: "ended at the largest number of tokens",
  stopped: "stopped",
  error: "",
};

/** The line below a text: "42 tokens · 8.1 tokens/s · seed 7" */
export function factsOf(writing) {
  const count = writing.tokens.length;
  const speed = writing.perSecond === null ? "" : `${writing.perSecond.toFixed(1)} tokens/s`;
  const seed = writing.isWriting || writing.seed === null ? "" : `seed ${writing.seed}`;
  return [`${count} token${count === 1 ? "" : "s"}`, speed, seed, ENDINGS[writing.state]].filter(Boolean).join(" · ");
}

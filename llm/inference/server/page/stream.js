// A text that the server writes, piece by piece: server-sent events of OpenAI's API, in both of its forms.

import { ApiError, post, sentence } from "./api.js";
import { tokensOfChat, tokensOfCompletion } from "./tokens.js";

/** Pieces {text, tokens, finish} as they come. `finish`: null, "stop" or "length". */
export async function* pieces(path, body, signal) {
  const response = await post(path, { ...body, stream: true }, signal);
  for await (const data of events(response.body)) {
    if (data === "[DONE]") return;
    const chunk = JSON.parse(data);
    if (chunk.error) throw new ApiError(sentence(chunk.error.message));
    for (const choice of chunk.choices) yield pieceOf(choice);
  }
  throw new ApiError("The connection ended before the text did.");
}

function pieceOf(choice) {
  const finish = choice.finish_reason ?? null;
  if ("delta" in choice) {
    return { text: choice.delta.content ?? "", tokens: tokensOfChat(choice.logprobs), finish };
  }
  return { text: choice.text, tokens: tokensOfCompletion(choice.logprobs), finish };
}

/** The data of each event. An event is some lines, of which those with "data:" count, and an empty line. */
async function* events(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let waiting = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    waiting += value;
    const complete = waiting.split(/\r?\n\r?\n/);
    waiting = complete.pop();
    for (const event of complete) {
      const lines = event.split(/\r?\n/).filter((line) => line.startsWith("data:"));
      if (lines.length > 0) yield lines.map((line) => line.slice(5).trimStart()).join("\n");
    }
  }
}

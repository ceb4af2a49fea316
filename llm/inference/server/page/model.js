// What the server says about its model: {name, parameters, layers, heads, vocabulary, context, chat, end_ids, sampling}.

import { getJson } from "./api.js";

export const model = {};

export async function loadModel() {
  Object.assign(model, await getJson("/page/model"));
}

/** "135 million parameters" */
export function sizeOf(count) {
  if (count >= 1e9) return `${(count / 1e9).toFixed(1)} billion parameters`;
  if (count >= 1e6) return `${Math.round(count / 1e6)} million parameters`;
  return `${count.toLocaleString("en")} parameters`;
}

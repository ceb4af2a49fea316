// Requests to the server. What goes wrong becomes an `ApiError`, whose message is a sentence for the reader.

import { byId } from "./dom.js";

export class ApiError extends Error {}

let apiKey = null; // kept in this page's memory only

/** The answer to a request, as an object. */
export async function getJson(path) {
  return (await send(path, { method: "GET" })).json();
}

export async function postJson(path, body, signal) {
  return (await post(path, body, signal)).json();
}

/** The answer to a request, before its body is read. Raises ApiError, or AbortError if `signal` says so. */
export async function post(path, body, signal) {
  const headers = { "content-type": "application/json" };
  return send(path, { method: "POST", body: JSON.stringify(body), headers, signal });
}

async function send(path, options) {
  for (;;) {
    const response = await reach(path, options);
    if (response.ok) return response;
    const sentence = await errorOf(response);
    if (response.status !== 401) throw new ApiError(sentence);
    apiKey = await askForKey(sentence);
  }
}

async function reach(path, options) {
  const key = apiKey === null ? {} : { authorization: `Bearer ${apiKey}` };
  try {
    return await fetch(path, { ...options, headers: { ...options.headers, ...key } });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError("The server does not answer. Is it still running?");
  }
}

async function errorOf(response) {
  try {
    return sentence((await response.json()).error.message);
  } catch {
    return `The server answered with the status ${response.status}.`;
  }
}

/** The server's messages begin in lower case and have no full stop. */
export function sentence(message) {
  const text = String(message);
  return text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".");
}

/** Ask for the API key in a dialog. Raises ApiError if the reader gives none. */
function askForKey(reason) {
  const dialog = byId("key-dialog");
  const field = byId("key");
  byId("key-reason").textContent = apiKey === null ? "This server answers only who has its API key." : reason;
  field.value = "";
  dialog.showModal();
  return new Promise((resolve, reject) => {
    dialog.addEventListener(
      "close",
      () => (dialog.returnValue === "use" && field.value ? resolve(field.value) : reject(new ApiError(reason))),
      { once: true },
    );
  });
}

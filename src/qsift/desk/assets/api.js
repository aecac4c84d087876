// The server, with the token; one place that knows how it refuses.

const KEPT = "qsift-key";

// The token stands in the fragment, which browsers send to nobody. It is kept for this origin, port included; a cookie
// would go to every port of this machine.
/** Keeps the token of the address, if there is one, and takes it out of there; returns whether there was. */
export function takeToken() {
  const given = new URLSearchParams(location.hash.slice(1)).get("token");
  if (given === null) return false;
  localStorage.setItem(KEPT, given);
  history.replaceState(null, "", location.pathname);
  return true;
}
takeToken();

/** A refusal in the server's words; `status` is 0 where it was not reached. */
export class Refusal extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

/** Keeps a key that was typed. */
export const keepKey = (key) => localStorage.setItem(KEPT, key.trim());

/** Returns the JSON that an endpoint answers; with a body it is a POST. Aborting `signal` drops the question. */
export async function ask(path, body, signal) {
  const headers = { "Content-Type": "application/json" };
  const key = localStorage.getItem(KEPT);
  if (key) headers.Authorization = `Bearer ${key}`;
  let answer;
  try {
    answer = await fetch(path, { method: body ? "POST" : "GET", headers, body: body && JSON.stringify(body), signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    dispatchEvent(new Event("gone"));
    throw new Refusal(error.message, 0);
  }
  const content = await answer.json();
  if (answer.status === 401) dispatchEvent(new Event("key-needed"));
  if (!answer.ok) throw new Refusal(content.message ?? answer.statusText, answer.status);
  return content;
}

/** Returns whether the server is there. */
export async function isThere() {
  try {
    return (await fetch("/ping", { cache: "no-store" })).ok;
  } catch {
    return false;
  }
}

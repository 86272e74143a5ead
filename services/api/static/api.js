// The HTTP API, as this page uses it. Addresses are relative to the page, so that it works behind a proxy's prefix too.

const KEY = "bowerbird.key";

/** What the API says was wrong (RFC 9457), or that it can't be reached. `message` is for people. */
export class Problem extends Error {
  constructor(status, body) {
    super(body.detail || body.title || `The server answered ${status}.`);
    this.status = status;
    this.type = body.type || "about:blank";
    this.body = body;
  }
}

/** The server doesn't have what is asked for at all, as one that is older than this page: not merely not this one. */
export const isMissing = (error) => error instanceof Problem && error.status === 404 && error.type === "/problems/not-found";

let ask = () => Promise.reject(new Error("nobody asks for keys"));
let asking = null;

/** Who asks for a key: a function that is told why, and promises one. */
export function keysFrom(asker) {
  ask = asker;
}

// Storage can be forbidden; then a key lasts as long as the page.
let remembered = null;
export function key() {
  try {
    return sessionStorage.getItem(KEY) ?? remembered;
  } catch {
    return remembered;
  }
}

export function keepKey(value) {
  remembered = value;
  try {
    if (value === null) sessionStorage.removeItem(KEY);
    else sessionStorage.setItem(KEY, value);
  } catch {
    // remembered above
  }
}

/** The answer, once there is one that isn't 401: whoever lacks a key is asked for it, once for all requests that wait. */
export async function request(path, { headers = {}, ...options } = {}) {
  for (;;) {
    const given = key();
    const answer = await send(path, { ...options, headers: given === null ? headers : { ...headers, Authorization: `Bearer ${given}` } });
    if (answer.status !== 401) return answer;
    if (key() !== given) continue; // another request has been told meanwhile
    asking ??= ask(given === null ? "" : "That isn't one of this server's keys.").finally(() => {
      asking = null;
    });
    keepKey(await asking);
  }
}

async function send(path, options) {
  try {
    return await fetch(new URL(path, document.baseURI), { credentials: "same-origin", cache: "no-cache", ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(0, { detail: "The server can't be reached. It is tried again by itself." });
  }
}

/** The JSON of an answer, null if there is none. Raises Problem. */
export async function call(method, path, body, { signal } = {}) {
  const options = { method, signal };
  if (body !== undefined) Object.assign(options, { body: JSON.stringify(body), headers: { "Content-Type": "application/json" } });
  const answer = await request(path, options);
  const text = await answer.text();
  let content = null;
  try {
    content = text ? JSON.parse(text) : null;
  } catch {
    throw new Problem(answer.status, { detail: `The server answered ${answer.status}, and not in JSON.` });
  }
  if (!answer.ok) throw new Problem(answer.status, content ?? {});
  return content;
}

export const get = (path, options) => call("GET", path, undefined, options);

/** A path with a query, from what is given of its parameters. */
export function query(path, parameters) {
  const given = Object.entries(parameters).filter(([, value]) => value !== undefined && value !== null && value !== "");
  return given.length ? `${path}?${new URLSearchParams(given)}` : path;
}

/** The cursor of a list's next page; null after the last. The rest of its address is known, and may be another origin's to a browser. */
export const cursorOf = (page) => (page.next ? new URL(page.next, document.baseURI).searchParams.get("cursor") : null);

/** The last part of an address such as /images/abc. */
export const idOf = (address) => address.slice(address.lastIndexOf("/") + 1);

/** Runs `act` over many things, a few at a time. What fails doesn't stop the rest; returns the errors. */
export async function each(things, act, atOnce = 4) {
  const left = [...things];
  const errors = [];
  const work = async () => {
    while (left.length) {
      const thing = left.shift();
      try {
        await act(thing);
      } catch (error) {
        errors.push(error);
      }
    }
  };
  await Promise.all(Array.from({ length: atOnce }, work));
  return errors;
}

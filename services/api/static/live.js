// What happens on the server while one looks: from its stream of events, or, where there is none, by asking every two seconds.
// A stream holds one of the few connections that a browser has to a server, so that a tab nobody sees lets go of it.

import { isMissing, Problem, request } from "./api.js";

const POLL_SECONDS = 2;
const SLOW_SECONDS = 5; // beside a stream: what is merely queued has no event
const SILENCE_SECONDS = 60; // the server sends a comment more often than that
const MOST_WAIT_SECONDS = 30;
const MAX_BUFFER = 1024 * 1024;

const changes = [];
const ticks = [];
const beats = [];
let tell = () => {};
let lastId = null;
let streaming = false;
let supported = true;
let failures = 0;

/** `watcher({event, id, status, …})` is called for each event. */
export const onChange = (watcher) => changes.push(watcher);
/** `watcher()` is called when it is time to look again. */
export const onTick = (watcher) => ticks.push(watcher);

/** `watcher()` is called every two seconds whatever there is: for what is waited for. */
export const onBeat = (watcher) => beats.push(watcher);

function tick() {
  for (const watcher of ticks) watcher();
}

/** `state` is told "live", "asking" (by polling) or "away" (the server can't be reached). */
export function start(state) {
  tell = state;
  let controller = null;
  const look = () => {
    if (document.hidden) {
      controller?.abort();
      controller = null;
    } else if (!controller) {
      controller = new AbortController();
      follow(controller.signal);
      poll(controller.signal);
      if (lastId !== null) tick();
    }
  };
  document.addEventListener("visibilitychange", look);
  look();
}

const pause = (seconds, signal) =>
  new Promise((resolve) => {
    const timer = setTimeout(resolve, seconds * 1000);
    signal.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
  });

async function poll(signal) {
  let waited = 0;
  while (!signal.aborted) {
    await pause(POLL_SECONDS, signal);
    if (signal.aborted) return;
    waited += POLL_SECONDS;
    for (const watcher of beats) watcher();
    if (!streaming || waited >= SLOW_SECONDS) {
      waited = 0;
      tick();
    }
  }
}

async function follow(signal) {
  while (!signal.aborted && supported) {
    const silence = new AbortController();
    const stop = () => silence.abort();
    signal.addEventListener("abort", stop, { once: true });
    try {
      await stream(silence);
    } catch (error) {
      if (isMissing(error)) supported = false;
    }
    signal.removeEventListener("abort", stop);
    streaming = false;
    if (signal.aborted) return;
    tell(supported ? "away" : "asking");
    failures += 1;
    if (supported) await pause(Math.min(MOST_WAIT_SECONDS, 2 ** failures * (0.5 + Math.random() / 2)), signal);
  }
  if (!signal.aborted) tell("asking");
}

async function stream(silence) {
  const headers = { Accept: "text/event-stream", ...(lastId !== null && { "Last-Event-ID": lastId }) };
  const answer = await request("events", { headers, signal: silence.signal, cache: "no-store" });
  if (!answer.ok) throw new Problem(answer.status, await answer.json().catch(() => ({})));
  streaming = true;
  failures = 0;
  tell("live");
  tick();
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const timer = setTimeout(() => silence.abort(), SILENCE_SECONDS * 1000);
    const { value, done } = await reader.read().finally(() => clearTimeout(timer));
    if (done) return;
    text += value;
    if (text.length > MAX_BUFFER) throw new Error("an event without an end");
    const events = text.split(/\r?\n\r?\n/);
    text = events.pop();
    events.forEach(arrived);
  }
}

/** An event in the form of HTML's server-sent events: fields, one on a line. */
function arrived(block) {
  let event = "message";
  let data = "";
  for (const line of block.split(/\r?\n/)) {
    const [, field, value] = /^([^:]*): ?(.*)$/.exec(line) ?? [];
    if (field === "event") event = value;
    else if (field === "data") data += data ? `\n${value}` : value;
    else if (field === "id") lastId = value;
  }
  if (event === "reset") tick();
  else if (data) {
    const content = JSON.parse(data);
    for (const watcher of changes) watcher({ ...content, event });
  }
}

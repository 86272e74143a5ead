// The one live region: says what matters to those who don't see it happen, and not more often than they can listen.

import { byId } from "./dom.js";

const EVERY_MS = 4000;
let next = null;
let quietUntil = 0;
let timer = null;

/** Says something, in a while if something was said just now; of several things that wait the last is said. */
export function announce(text) {
  next = text;
  timer ??= setTimeout(speak, Math.max(50, quietUntil - Date.now()));
}

function speak() {
  timer = null;
  quietUntil = Date.now() + EVERY_MS;
  const region = byId("announcer");
  // The same words again would be no change.
  region.textContent = region.textContent === next ? `${next} ` : next;
}

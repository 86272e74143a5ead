// Asks for one of the server's keys, and forgets it.

import { keepKey, key, keysFrom } from "./api.js";
import { byId, say } from "./dom.js";

function asked(why) {
  const dialog = byId("key");
  const input = byId("key-value");
  input.value = "";
  say(byId("key-problem"), why);
  input.setAttribute("aria-invalid", why ? "true" : "false");
  return new Promise((resolve) => {
    byId("key-form").onsubmit = (event) => {
      event.preventDefault();
      const given = input.value.trim();
      if (!given) return;
      if (!/^[\x21-\x7e]+$/.test(given)) {
        say(byId("key-problem"), "A key has no spaces, and only characters of ASCII.");
        return;
      }
      dialog.close();
      resolve(given);
      shown(true);
    };
    dialog.oncancel = (event) => event.preventDefault(); // there is nothing to see without one
    dialog.showModal();
    input.focus();
  });
}

const shown = (known) => {
  byId("forget-key").hidden = !known;
};

export function start() {
  keysFrom(asked);
  shown(key() !== null);
  byId("forget-key").addEventListener("click", () => {
    keepKey(null);
    location.reload();
  });
}

// Asks before what can't be undone.

import { byId, h } from "./dom.js";

/** Promises whether it was agreed to; with `extra`, a check box's label, promises `{extra: …}` instead of true. */
export function confirm({ title, text, yes, extra = null }) {
  const dialog = byId("confirm");
  const box = extra ? h("input", { type: "checkbox", id: "confirm-extra" }) : null;
  return new Promise((resolve) => {
    const close = (answer) => {
      dialog.close();
      resolve(answer);
    };
    const cancel = h("button", { type: "button", onclick: () => close(false) }, "Cancel");
    dialog.replaceChildren(
      h("h2", { id: "confirm-title" }, title),
      h("p", { id: "confirm-text" }, text),
      extra && h("p", {}, h("label", { class: "check" }, box, extra)),
      h("p", { class: "buttons" }, cancel, h("button", { type: "button", class: "danger", onclick: () => close(box ? { extra: box.checked } : true) }, yes)),
    );
    dialog.oncancel = (event) => {
      event.preventDefault();
      close(false);
    };
    dialog.showModal();
    cancel.focus();
  });
}

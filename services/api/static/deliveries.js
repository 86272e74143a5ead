// What came of telling those who had asked to be told of an image (docs/webhooks.md).

import { action, h } from "./dom.js";
import { at, atFully, nth, reasonTitle, took, until } from "./words.js";

const TOLD = { "image.stored": "That it is stored", "image.failed": "That it failed", "page.expanded": "That its images are found" };
const OUTCOMES = { delivered: "stored", failed: "failed" };

/** The section's content, for the deliveries of one image; `again(delivery)` has one sent again, and what goes wrong goes to `failed`. */
export function deliveries(items, again, failed) {
  return items.length ? [h("h3", {}, "Who was told"), h("ul", { class: "attempts", role: "list" }, ...items.map((delivery) => line(delivery, again, failed)))] : [];
}

/** Whether something may still come of one of them without anybody's doing. */
export const underWay = (items) => items.some((delivery) => delivery.status === "pending");

function line(delivery, again, failed) {
  const what = TOLD[delivery.type] ?? delivery.type;
  const last = delivery.attempts.at(-1);
  return h("li", { dataset: { outcome: OUTCOMES[delivery.status] ?? "" } },
    h("span", { class: "when" }, `${what}, `, h("time", { dateTime: delivery.created_at, title: atFully(delivery.created_at) }, at(delivery.created_at)), ", to ", h("span", { class: "url" }, delivery.url)),
    h("span", {}, `${outcome(delivery, last)} `, delivery.status === "pending" ? null : action("Send again", () => again(delivery), { class: "quiet", "aria-label": `Send again: ${what}`, failed })));
}

function outcome(delivery, last) {
  if (delivery.status === "delivered") return `Taken at the ${nth(last?.number ?? 1)} attempt${last ? `, ${took(last.took_ms)}` : ""}.`;
  const why = last?.reason ? `${reasonTitle(last.reason)}. ${last.detail ?? ""}` : "";
  if (delivery.status === "failed") return `Given up after the ${nth(last?.number ?? 1)} attempt: ${why}`;
  return why ? `${why} The next attempt is due ${delivery.next_attempt_at ? until(delivery.next_attempt_at) : "soon"}.` : "Under way.";
}

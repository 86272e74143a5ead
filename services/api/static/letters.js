// The dead letters: messages that could not be processed; each shown, sent again or deleted.

import { announce } from "./announce.js";
import { call, cursorOf, get, query } from "./api.js";
import { confirm } from "./confirm.js";
import { action, byId, h, say } from "./dom.js";
import { address, leave } from "./router.js";
import { at, atFully, bytes, many } from "./words.js";

let drawn = 0;
let opened = null;

export async function display() {
  const mine = (drawn += 1);
  const view = byId("view-letters");
  const problem = h("p", { class: "problem", role: "alert" });
  const summary = h("p", { class: "lead" }, "Looking …");
  const list = h("ul", { class: "rows panel", role: "list", hidden: true });
  const more = h("p", { class: "buttons" });
  view.replaceChildren(h("h1", { tabIndex: -1 }, "Dead letters"), summary, problem, list, more);
  const load = async (cursor) => {
    const page = await get(query("dead-letters", { limit: 100, cursor }));
    if (mine !== drawn) return;
    list.append(...page.items.map((letter) => line(letter, problem)));
    const next = cursorOf(page);
    list.hidden = !list.children.length;
    say(summary, list.hidden ? "There are none. A message that no service can process ends here, with the reason, instead of being lost." : "Messages that no service could process. Send them again once the cause is gone.");
    more.replaceChildren(...(next ? [action("Show more", () => load(next), { failed: (error) => say(problem, error.message) })] : []));
  };
  try {
    await load(null);
  } catch (error) {
    say(summary, "");
    say(problem, error.message);
  }
}

const failedTo = (problem) => (error) => say(problem, error.message);

function line(letter, problem) {
  return h("li", { dataset: { letter: letter.id } },
    h("div", { class: "what" }, h("a", { href: address({ view: "letters", id: letter.id }) }, letter.type ?? "A message without a type"), h("span", { class: "hint" }, `${letter.queue}, ${at(letter.died_at)}, ${bytes(letter.size)}`)),
    h("p", { class: "detail" }, `${letter.reason}: ${letter.detail}`),
    action("Send again", () => replay(letter), { class: "quiet", "aria-label": `Send again: ${letter.type ?? letter.id}`, failed: failedTo(problem) }),
    action("Delete", () => remove(letter), { class: "quiet", "aria-label": `Delete: ${letter.type ?? letter.id}`, failed: failedTo(problem) }));
}

async function replay(letter) {
  const { queue } = await call("POST", `dead-letters/${letter.id}/replay`);
  announce(`Sent to ${queue} again.`);
  await gone();
}

async function remove(letter) {
  const agreed = await confirm({ title: "Delete this message?", text: "What it asked for will not happen. This can't be undone.", yes: "Delete" });
  if (!agreed) return;
  await call("DELETE", `dead-letters/${letter.id}`);
  announce("Deleted.");
  await gone();
}

async function gone() {
  if (opened) leave();
  await display();
  byId("view-letters").querySelector("h1").focus();
}

/** Shows the letter with an id; null closes it. */
export async function open(id) {
  const dialog = byId("detail");
  if (!id) {
    if (opened) dialog.close();
    opened = null;
    return;
  }
  opened = id;
  const title = h("h2", { id: "detail-title", tabIndex: -1 }, "…");
  const problem = h("p", { class: "problem", role: "alert" });
  const body = h("div", {});
  dialog.replaceChildren(
    h("div", { class: "sheet-top" }, h("span", {}), h("button", { type: "button", class: "quiet close", "aria-label": "Close", onclick: leave }, "×")),
    h("div", { class: "sheet-body single" }, h("div", { class: "about" }, title, problem, body)));
  if (!dialog.open) dialog.showModal();
  title.focus();
  try {
    const letter = await get(`dead-letters/${encodeURIComponent(id)}`);
    if (opened !== id) return;
    say(title, letter.type ?? "A message without a type");
    body.replaceChildren(...content(letter, problem));
  } catch (error) {
    say(title, "There is no such dead letter");
    say(problem, error.message);
  }
}

function content(letter, problem) {
  const facts = [
    ["Queue", letter.queue],
    ["Reason", `${letter.reason}: ${letter.detail}`],
    ["Died", atFully(letter.died_at)],
    ["Message", letter.message_id],
    ["Correlation", letter.correlation_id],
    ["Content type", letter.content_type],
    ["Size", bytes(letter.size)],
  ];
  const shown = letter.body_encoding === "base64" ? "the beginning, in base64" : many(letter.size, "byte");
  return [
    h("p", { class: "buttons" },
      action("Send again", () => replay(letter), { class: "primary", failed: failedTo(problem) }),
      action("Delete", () => remove(letter), { class: "danger", failed: failedTo(problem) })),
    h("dl", {}, ...facts.filter(([, value]) => value).map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value)))),
    h("h3", {}, "Headers"),
    h("pre", { tabIndex: 0, "aria-label": "Headers" }, JSON.stringify(letter.headers, null, 2)),
    h("h3", {}, `Body (${letter.body_truncated ? "its beginning" : shown})`),
    h("pre", { tabIndex: 0, "aria-label": "Body" }, readable(letter.body ?? "")),
  ];
}

function readable(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

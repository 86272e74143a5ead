// What failed, grouped by why, and trying again.

import { announce } from "./announce.js";
import { call, cursorOf, each, get, query } from "./api.js";
import { confirm } from "./confirm.js";
import { action, byId, h, say } from "./dom.js";
import { address } from "./router.js";
import { at, hostOf, many, nameOf, number, reasonMeaning, reasonTitle } from "./words.js";

const PAGE = 500;
const PAGES = 4; // so many are looked at: enough to see what is the matter
const SHOWN = 10; // of a group, at first

let total = 0; // of all there are, as far as the server has said
let drawn = 0;

/** How many failures there are. */
export const count = (failures) => (total = failures);

export async function display() {
  const mine = (drawn += 1);
  const view = byId("view-failures");
  const problem = h("p", { class: "problem", role: "alert" });
  const summary = h("p", { class: "lead" }, "Looking …");
  const groups = h("div", { class: "groups" });
  const buttons = h("p", { class: "buttons" });
  view.replaceChildren(h("h1", { tabIndex: -1 }, "Failures"), summary, buttons, problem, groups);
  try {
    const { images, more } = await failed(() => mine === drawn);
    if (mine !== drawn) return;
    const byReason = grouped(images);
    const all = more ? Math.max(total, images.length) : images.length;
    say(summary, images.length ? `${many(all, "address", "addresses")} couldn't be had${more ? `; these are the newest ${number(images.length)}` : ""}.` : "Nothing has failed. What fails is listed here, with the reason, and can be tried again.");
    if (images.length) buttons.append(action("Try all again", () => requeue(problem), { class: "primary", failed: (error) => say(problem, error.message) }));
    groups.replaceChildren(...[...byReason].sort((one, other) => other[1].length - one[1].length).map(([reason, those]) => group(reason, those)));
  } catch (error) {
    say(summary, "");
    say(problem, error.message);
  }
}

async function failed(wanted) {
  const images = [];
  let cursor = null;
  for (let page = 0; page < PAGES && wanted(); page += 1) {
    const answer = await get(query("images", { status: "failed", limit: PAGE, cursor }));
    images.push(...answer.items);
    cursor = cursorOf(answer);
    if (!cursor) break;
  }
  return { images, more: cursor !== null };
}

function grouped(images) {
  const groups = new Map();
  for (const image of images) {
    const reason = image.error?.reason ?? "unknown";
    if (!groups.has(reason)) groups.set(reason, []);
    groups.get(reason).push(image);
  }
  return groups;
}

function group(reason, images) {
  const status = h("span", { class: "hint", role: "status" });
  const list = h("ul", { class: "rows", role: "list" });
  const rows = new Map();
  const rest = [...images];
  const next = h("button", { type: "button", class: "quiet", onclick: () => reveal() }, "Show more");
  const reveal = () => {
    const from = list.children.length;
    for (const image of rest.splice(0, SHOWN)) {
      const row = line(image);
      rows.set(image.id, row);
      list.append(row);
    }
    next.hidden = !rest.length;
    if (from) list.children[from]?.querySelector("a").focus();
  };
  reveal();
  const again = action(`Try ${images.length === 1 ? "it" : `these ${number(images.length)}`} again`, async () => {
    let done = 0;
    const errors = await each(images, async (image) => {
      await call("PUT", "images", { url: image.source_url });
      rows.get(image.id)?.classList.add("done");
      done += 1;
      say(status, `${number(done)} of ${number(images.length)}`);
    });
    const text = `${many(done, "address", "addresses")} will be tried again${errors.length ? `; ${number(errors.length)} couldn't be: ${errors[0].message}` : ""}.`;
    say(status, text);
    announce(text);
  }, { failed: (error) => say(status, error.message) });
  return h("section", { class: "panel group", "aria-labelledby": `reason-${reason}`, dataset: { reason } },
    h("header", {}, h("h2", { id: `reason-${reason}` }, reasonTitle(reason), " ", h("span", { class: "count" }, number(images.length))), again, status),
    h("p", { class: "hint" }, reasonMeaning(reason)), list, next);
}

function line(image) {
  const fate = h("span", { class: "hint", role: "status" });
  const row = h("li", {},
    h("div", { class: "what" }, h("a", { href: address({ id: image.id }), title: image.source_url }, nameOf(image.source_url)), h("span", { class: "hint" }, `${hostOf(image.source_url)}, ${at(image.completed_at ?? image.added_at)}`)),
    h("p", { class: "detail" }, image.error?.detail ?? ""),
    action("Try again", async () => {
      await call("PUT", "images", { url: image.source_url });
      row.classList.add("done");
      say(fate, "Will be tried again");
    }, { class: "quiet", "aria-label": `Try ${nameOf(image.source_url)} again`, failed: (error) => say(fate, error.message) }),
    fate);
  return row;
}

async function requeue(problem) {
  const agreed = await confirm({ title: "Try everything again that failed?", text: "Each address is downloaded afresh, in the background; hosts that refused before are asked once more.", yes: "Try all again" });
  if (!agreed) return;
  let before;
  let total = 0;
  for (;;) {
    const answer = await call("POST", "requeue", { status: "failed", ...(before && { before }) });
    total += answer.requeued;
    before = answer.before;
    say(problem, "");
    if (!answer.more) break;
  }
  announce(`${many(total, "address", "addresses")} will be tried again.`);
  await display();
}

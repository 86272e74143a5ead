// Submitting URLs, and what becomes of each line.

import { announce } from "./announce.js";
import { call, get, idOf, Problem, query } from "./api.js";
import { action, byId, h, say } from "./dom.js";
import * as live from "./live.js";
import { address } from "./router.js";
import { many, number, reasonTitle, standing } from "./words.js";

const SHOWN_LINES = 100;
const LOOKED_UP = 500; // as many lines are looked up one by one; of more, only those that events tell of
const KEPT = 5; // submissions on the page
const SETTLED = new Set(["stored", "failed", "expanded"]);
const OUTCOMES = { accepted: "Waiting", known: "Known already", repeated: "Repeated", refused: "Refused" };

let batchUrls = 10_000;
let added = () => {};

export const limit = (urls) => (batchUrls = urls);

/** `whenAdded()` is called when there is something new in the list. */
export function start(whenAdded) {
  added = whenAdded;
  const form = byId("add");
  const field = byId("add-urls");
  field.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey || !event.shiftKey && !field.value.includes("\n") && urlsIn(field.value).length === 1)) {
      event.preventDefault();
      form.requestSubmit();
    }
  });
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const urls = urlsIn(field.value);
    const button = form.querySelector("button");
    if (button.getAttribute("aria-disabled") === "true") return;
    say(byId("add-problem"), urls.length ? "" : "Paste at least one address, such as https://example.org/picture.jpg.");
    if (!urls.length) return field.focus();
    button.setAttribute("aria-disabled", "true");
    try {
      await submit(urls);
      field.value = "";
    } catch (error) {
      say(byId("add-problem"), error.message);
    } finally {
      button.removeAttribute("aria-disabled");
    }
  });
}

/** The URLs in a text: one on a line; several on a line where each begins with its scheme. */
export const urlsIn = (text) => text.split(/[\r\n]+|\s+(?=https?:\/\/)/i).map((line) => line.trim()).filter(Boolean);

async function submit(urls) {
  if (urls.length === 1) return one(urls[0]);
  for (let start = 0; start < urls.length; start += batchUrls) {
    const batch = await call("POST", "batches", { urls: urls.slice(start, start + batchUrls) });
    show(new Submission(batch.items, batch));
  }
}

async function one(url) {
  try {
    const image = await call("POST", "images", { url });
    show(new Submission([{ url, outcome: "accepted", image: image.links.self }], null));
  } catch (error) {
    if (!(error instanceof Problem) || ![409, 422].includes(error.status)) throw error;
    const line = error.status === 409 ? { url, outcome: "known", image: error.body.image } : { url, outcome: "refused", detail: error.message };
    show(new Submission([line], null));
  }
}

const current = [];

function show(submission) {
  current.unshift(submission);
  byId("submissions").prepend(submission.element);
  while (current.length > KEPT) current.pop().dismiss();
  added();
}

live.onChange((event) => current.forEach((submission) => submission.changed(event)));
live.onBeat(() => current.forEach((submission) => submission.look()));

class Submission {
  #lines;
  #batch;
  #rows = new Map(); // by image's id
  #images = new Map(); // what is known of each
  #done = false;
  #busy = false;
  #told = false;
  #summary = h("p", { class: "summary" });
  #progress = h("progress", { "aria-label": "Settled", value: 0 });
  #problem = h("p", { class: "problem" });

  constructor(lines, batch) {
    this.#lines = lines;
    this.#batch = batch;
    const title = lines.length === 1 ? "One address" : many(lines.length, "address", "addresses");
    const dismiss = h("button", { type: "button", class: "quiet", "aria-label": `Hide: ${title}`, onclick: () => this.dismiss(true) }, "Hide");
    const order = [...lines].sort((one, other) => (other.outcome === "refused") - (one.outcome === "refused"));
    this.element = h(
      "section",
      { class: "submission", "aria-label": title },
      h("header", {}, h("h3", {}, title), batch && h("a", { href: address({ filters: { batch: batch.id } }) }, "Show only these"), dismiss),
      this.#progress,
      this.#summary,
      this.#problem,
      h("ul", { class: "lines", role: "list", tabIndex: lines.length > 6 ? 0 : undefined, "aria-label": lines.length > 6 ? "What became of each line" : undefined },
        ...order.slice(0, SHOWN_LINES).map((line) => this.#row(line)),
        order.length > SHOWN_LINES && h("li", { class: "hint" }, `and ${number(order.length - SHOWN_LINES)} more`)),
    );
    this.#draw();
    announce(this.#summary.textContent);
    this.look();
  }

  #row(line) {
    const fate = h("span", { class: "fate" }, line.outcome === "refused" ? `${OUTCOMES.refused}: ${line.detail}` : OUTCOMES[line.outcome]);
    const id = line.image && idOf(line.image);
    const text = h("span", { class: "url" }, line.url ?? "(not text)");
    const row = h("li", { dataset: { outcome: line.outcome } }, id ? h("a", { href: address({ id }), class: "url" }, line.url) : text, fate);
    if (id && line.outcome === "known") {
      row.append(action("Download again", async () => {
        await call("PUT", "images", { url: line.url });
        this.#done = this.#told = false;
        await this.look();
      }, { class: "quiet", failed: (error) => say(this.#problem, error.message) }));
    }
    if (id && !this.#rows.has(id)) this.#rows.set(id, { row, fate, line });
    return row;
  }

  dismiss(byHand = false) {
    this.element.remove();
    this.#done = true;
    const index = current.indexOf(this);
    if (index >= 0) current.splice(index, 1);
    if (byHand) byId("add-urls").focus();
  }

  changed(event) {
    const known = this.#rows.get(event.id);
    if (!known) return;
    this.#tell({ ...this.#images.get(event.id), id: event.id, status: event.status ?? event.event });
    this.#draw();
    if (this.#lines.length === 1) this.look();
  }

  /** Asks how far it has come. */
  async look() {
    if (this.#done || this.#busy) return;
    this.#busy = true;
    try {
      await (this.#batch ? this.#lookAtBatch() : this.#lookAtOne());
      say(this.#problem, "");
    } catch (error) {
      say(this.#problem, error.message);
      this.#done ||= error.status === 404;
    } finally {
      this.#busy = false;
    }
    this.#draw();
  }

  async #lookAtOne() {
    const [id] = this.#rows.keys();
    if (!id) return void (this.#done = true);
    const image = await get(`images/${id}`);
    this.#tell(image);
    this.#done = SETTLED.has(image.status);
  }

  async #lookAtBatch() {
    this.#batch = { ...(await get(`batches/${this.#batch.id}`)), items: undefined };
    if (this.#lines.length <= LOOKED_UP) {
      const page = await get(query("images", { batch: this.#batch.id, limit: LOOKED_UP }));
      page.items.forEach((image) => this.#tell(image));
    }
    this.#done = this.#batch.completed_at !== null;
  }

  #tell(image) {
    this.#images.set(image.id, image);
    const known = this.#rows.get(image.id);
    if (!known) return;
    known.row.dataset.outcome = image.status;
    const again = known.line.outcome === "known" ? "Known already. " : "";
    const detail = image.status === "failed" && image.error ? `${reasonTitle(image.error.reason)}: ${image.error.detail}` : standing(image);
    say(known.fate, again + detail);
  }

  #counts() {
    if (this.#batch) return this.#batch.images;
    const counts = {};
    for (const id of this.#rows.keys()) {
      const status = this.#images.get(id)?.status ?? "queued";
      counts[status] = (counts[status] ?? 0) + 1;
    }
    return counts;
  }

  #draw() {
    const refused = this.#lines.filter((line) => line.outcome === "refused").length;
    const known = this.#lines.filter((line) => line.outcome === "known").length;
    const counts = this.#counts();
    const total = Object.values(counts).reduce((sum, count) => sum + count, 0);
    const waiting = (counts.queued ?? 0) + (counts.delayed ?? 0);
    const parts = [
      counts.stored && `${number(counts.stored)} stored`,
      counts.expanded && many(counts.expanded, "page"),
      counts.failed && `${number(counts.failed)} failed`,
      waiting && `${number(waiting)} on the way`,
      known && `${number(known)} known before`,
      refused && `${number(refused)} refused`,
    ];
    const text = parts.filter(Boolean).join(", ") || "Nothing to do";
    if (this.#done && !this.#told && total) {
      this.#told = true;
      announce(`Done: ${text}.`);
    }
    say(this.#summary, text);
    this.#progress.max = Math.max(1, total);
    this.#progress.value = total - waiting;
    this.#progress.hidden = !total;
  }
}

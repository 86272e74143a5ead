// One image, or page: its facts, what was tried, its former copies, and what can be done with it.

import { announce } from "./announce.js";
import { call, get, idOf, key } from "./api.js";
import { confirm } from "./confirm.js";
import { deliveries, underWay } from "./deliveries.js";
import { action, byId, h, outward, say } from "./dom.js";
import * as live from "./live.js";
import { contentOf, pictureOf, save, show } from "./pictures.js";
import { address, become, leave, place } from "./router.js";
import { at, atFully, bytes, many, nameOf, nth, number, reasonMeaning, reasonTitle, STATUS, took, until } from "./words.js";

const SHOWN_WHOLE = 4 * 1024 * 1024; // bytes; of larger images a smaller picture is shown
const SETTLED = new Set(["stored", "failed", "expanded"]);

let list = null;
let open = null;
let focusAgain = () => {};

/** `images` is the list behind; `closed(id)` is called with what was looked at last. */
export function start(images, closed) {
  list = images;
  focusAgain = closed;
  const dialog = byId("detail");
  dialog.addEventListener("keydown", (event) => {
    if (!open || event.altKey || event.ctrlKey || event.metaKey || event.target.matches("input, pre, [tabindex='0']")) return;
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (by) open.step(by);
  });
  live.onChange((event) => open?.id === event.id && open.look());
  live.onBeat(() => open && !open.settled && open.look());
}

/** Shows the image with an id; null closes what is shown. */
export function display(id) {
  if (open?.id === id) return;
  const before = open?.id;
  open?.close();
  open = id ? new Detail(id) : null;
  if (open) open.look();
  else if (before) focusAgain(before);
}

/** The list has changed: there may be others beside what is shown. */
export const listed = () => open?.offerSteps();

class Detail {
  settled = false;
  #image = null;
  #shown = {};
  #release = null;
  #pictured = null;
  #steps = [[-1, "Previous image", "‹"], [1, "Next image", "›"]].map(([by, label, sign]) =>
    h("button", { type: "button", class: "quiet", "aria-label": label, onclick: () => this.step(by) }, sign));
  #title = h("h2", { id: "detail-title", tabIndex: -1 }, "…");
  #state = h("p", { class: "badge" });
  #problem = h("p", { class: "problem", role: "alert" });
  #picture = h("figure", { class: "picture" });
  #facts = h("section", { id: "detail-facts" });
  #history = h("section", { id: "detail-history" });
  #versions = h("section", { id: "detail-versions" });
  #deliveries = h("section", { id: "detail-deliveries" });
  #buttons = h("p", { class: "buttons" });
  #toImages = h("a", { class: "button", hidden: true }, "Show its images");

  constructor(id) {
    this.id = id;
    this.#toImages.href = address({ filters: { page: id } });
    const dialog = byId("detail");
    dialog.replaceChildren(
      h("div", { class: "sheet-top" },
        h("p", { class: "steps" }, ...this.#steps),
        h("button", { type: "button", class: "quiet close", "aria-label": "Close", onclick: leave }, "×")),
      h("div", { class: "sheet-body" },
        this.#picture,
        h("div", { class: "about" }, h("header", {}, this.#title, this.#state), this.#problem, this.#buttons, this.#facts, this.#history, this.#versions, this.#deliveries)),
    );
    this.offerSteps();
    if (!dialog.open) dialog.showModal();
    this.#title.focus();
  }

  /** Shows the buttons to the images beside this one where there are any. */
  offerSteps() {
    this.#steps[0].hidden = !list.beside(this.id, -1);
    this.#steps[1].hidden = !list.beside(this.id, 1);
  }

  /** Goes to the image that many places on. */
  step(by) {
    const next = list.beside(this.id, by);
    if (next) become({ ...place(), id: next.id });
  }

  close() {
    this.#release?.();
    open = null;
    byId("detail").close();
  }

  async look() {
    try {
      const image = await get(`images/${encodeURIComponent(this.id)}`);
      if (open !== this) return;
      this.#image = image;
      this.settled = SETTLED.has(image.status);
      list.update(image);
      this.#draw(image);
      if (image.links.versions) await this.#lookAtVersions();
      if (image.callback_url) await this.#lookAtDeliveries();
    } catch (error) {
      this.#failed(error);
    }
  }

  #failed(error) {
    say(this.#problem, error.message);
    if (error.status === 404) {
      this.settled = true;
      if (!this.#image) say(this.#title, "There is no such image");
    }
  }

  /** Draws a part only when what it says has changed; a focus within it goes to the title. */
  #part(element, content, draw) {
    const text = JSON.stringify(content);
    if (this.#shown[element.id] === text && element.childNodes.length) return;
    this.#shown[element.id] = text;
    const focused = element.contains(document.activeElement);
    element.replaceChildren(...draw());
    if (focused) this.#title.focus();
  }

  #draw(image) {
    say(this.#title, nameOf(image.source_url));
    say(this.#state, STATUS[image.status] ?? image.status);
    this.#state.dataset.status = image.status;
    if (!this.#buttons.childNodes.length) this.#makeButtons();
    this.#toImages.hidden = !image.page;
    this.#drawPicture(image);
    this.#part(this.#facts, image, () => facts(image));
    this.#part(this.#history, [image.attempts, image.next_attempt_at && until(image.next_attempt_at), image.status], () => attempts(image));
  }

  #drawPicture(image) {
    const has = image.links.content ? image.sha256 : null;
    if (this.#pictured === (has ?? image.status)) return;
    this.#pictured = has ?? image.status;
    this.#release?.();
    this.#release = null;
    if (!has) {
      this.#picture.replaceChildren(h("p", { class: "nothing" }, image.page ? "A page has no picture of its own." : image.status === "failed" ? "There is no copy." : "It hasn't arrived yet."));
      return;
    }
    const img = h("img", { alt: `The image ${nameOf(image.source_url)}`, decoding: "async", width: image.width, height: image.height });
    const original = contentOf(image);
    const from = image.size <= SHOWN_WHOLE ? original : pictureOf(image, 640);
    const link = h("a", { class: "original", href: original, target: "_blank", rel: "noreferrer noopener" }, "Open the original", h("span", { class: "out-of-sight" }, " (opens in a new tab)"));
    link.addEventListener("click", (event) => {
      if (key() === null) return;
      event.preventDefault(); // a link can't send a key
      save(original, `${image.id}.${image.format}`).catch((error) => say(this.#problem, error.message));
    });
    this.#picture.replaceChildren(img, h("figcaption", {}, link));
    this.#release = show(img, image, from, () => img.replaceWith(h("p", { class: "nothing" }, "This browser can't show it.")));
  }

  #makeButtons() {
    const failed = (error) => this.#failed(error);
    this.#buttons.append(
      action("Download again", async () => {
        await call("PUT", "images", { url: this.#image.source_url });
        announce("It is being downloaded again.");
        this.settled = false;
        await this.look();
      }, { failed }),
      this.#toImages,
      action("Delete", () => this.#delete(), { class: "danger", failed }),
    );
  }

  async #delete() {
    const name = nameOf(this.#image.source_url);
    const isPage = Boolean(this.#image.page);
    const agreed = await confirm({
      title: `Delete ${name}?`,
      text: isPage ? "The page goes at once. Its images stay, unless you say otherwise." : "It goes at once, with its former copies and its history. This can't be undone.",
      yes: "Delete",
      extra: isPage ? "Delete its images too, where nothing else has them" : null,
    });
    if (!agreed) return;
    await call("DELETE", `images/${this.id}${agreed.extra ? "?images=true" : ""}`);
    list.remove(this.id);
    announce(`${name} is deleted.`);
    leave();
  }

  async #lookAtVersions() {
    const { items } = await get(`images/${this.id}/versions`);
    if (open !== this) return;
    this.#part(this.#versions, items, () => (items.length ? [h("h3", {}, "Former copies"), h("ul", { class: "versions", role: "list" }, ...items.map((version) => this.#version(version)))] : []));
  }

  async #lookAtDeliveries() {
    const { items } = await get(`images/${this.id}/deliveries?limit=10`);
    if (open !== this) return;
    // They follow the image's own outcome: as long as one is under way, there is something to look for.
    this.settled = this.settled && !underWay(items);
    const again = async (delivery) => {
      await call("POST", `deliveries/${delivery.id}/replay`);
      announce("It is sent again.");
      await this.#lookAtDeliveries();
    };
    this.#part(this.#deliveries, items, () => deliveries(items, again, (error) => this.#failed(error)));
  }

  #version(version) {
    const where = `images/${this.id}/versions/${version.sha256}`;
    const facts = `${number(version.width)} × ${number(version.height)} ${version.format.toUpperCase()}, ${bytes(version.size)}`;
    const link = h("a", { href: `${where}/content`, target: "_blank", rel: "noreferrer noopener" }, facts, h("span", { class: "out-of-sight" }, " (opens in a new tab)"));
    link.addEventListener("click", (event) => {
      if (key() === null) return;
      event.preventDefault();
      save(`${where}/content`, `${this.id}-${version.sha256.slice(0, 8)}.${version.format}`).catch((error) => this.#failed(error));
    });
    const forget = action("Delete", async () => {
      const agreed = await confirm({ title: "Delete this former copy?", text: "The present copy stays. This can't be undone.", yes: "Delete" });
      if (!agreed) return;
      await call("DELETE", where);
      this.#title.focus();
      await this.#lookAtVersions();
    }, { class: "quiet", "aria-label": `Delete the copy of ${atFully(version.fetched_at)}`, failed: (error) => this.#failed(error) });
    return h("li", {}, link, h("span", { class: "hint" }, `from ${at(version.fetched_at)} to ${at(version.replaced_at)}`), forget);
  }
}

function facts(image) {
  const rows = [
    ["Address", outward(image.source_url)],
    image.error && ["Problem", h("span", {}, h("strong", {}, reasonTitle(image.error.reason)), `. ${image.error.detail} `, h("span", { class: "hint" }, reasonMeaning(image.error.reason)))],
    image.width && ["Size", `${number(image.width)} × ${number(image.height)} pixels, ${bytes(image.size)}`],
    image.format && ["Format", `${image.format.toUpperCase()} (${image.content_type})`],
    image.page && ["On the page", pageFacts(image.page)],
    ["Added", when(image.added_at)],
    image.completed_at && ["Settled", when(image.completed_at)],
    image.checked_at && ["Checked", when(image.checked_at)],
    image.sha256 && ["SHA-256", h("code", {}, image.sha256)],
    image.pages?.length && ["Found on", links(image.pages)],
    image.same_bytes?.length && ["Same bytes as", links(image.same_bytes)],
    image.alternatives.length && ["Other sizes", h("ul", { role: "list" }, ...image.alternatives.slice(0, 10).map((url) => h("li", {}, outward(url))))],
    image.callback_url && ["Tells", h("span", { class: "url" }, image.callback_url)],
  ];
  return [h("h3", {}, "Facts"), h("dl", {}, ...rows.filter(Boolean).map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))))];
}

const when = (text) => h("time", { dateTime: text, title: atFully(text) }, at(text));
const links = (addresses) =>
  h("ul", { role: "list" }, ...addresses.map((one) => h("li", {}, h("a", { href: address({ ...place(), view: "images", id: idOf(one) }) }, h("code", {}, idOf(one))))));

function pageFacts(page) {
  const beside = [page.skipped && `${number(page.skipped)} inline`, page.refused && `${number(page.refused)} refused`, page.beyond && `${number(page.beyond)} beyond the limit`];
  const more = beside.filter(Boolean).join(", ");
  const counts = Object.entries(page.images ?? {}).filter(([, count]) => count).map(([status, count]) => `${number(count)} ${STATUS[status].toLowerCase()}`);
  return `${many(page.found, "image")}${more ? ` (besides, ${more})` : ""}${counts.length ? `: ${counts.join(", ")}` : ""}`;
}

function attempts(image) {
  const made = image.attempts.map((attempt) => {
    const outcome = attempt.reason ? `${reasonTitle(attempt.reason)}. ${attempt.detail}` : image.page ? "The page was read." : "It arrived.";
    return h("li", { dataset: { outcome: attempt.reason ? "failed" : "stored" } },
      h("span", { class: "when" }, `${nth(attempt.number)} attempt, `, when(attempt.at), `, ${took(attempt.took_ms)}`), h("span", {}, outcome));
  });
  const next =
    image.status === "queued" ? "It waits for its turn." : image.status === "delayed" && image.next_attempt_at ? `The next attempt is due ${until(image.next_attempt_at)}.` : null;
  return [h("h3", {}, "What was tried"), made.length ? h("ol", { class: "attempts", role: "list" }, ...made) : h("p", { class: "hint" }, "Nothing yet."), next && h("p", {}, next)].filter(Boolean);
}

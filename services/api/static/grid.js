// The grid: as many tiles as can be seen, and some around them, however long the list is. The page itself scrolls.

import { h, say } from "./dom.js";
import { pictureOf, show } from "./pictures.js";
import { hostOf, nameOf, standing, STATUS } from "./words.js";

const GAP = 12;
const CAPTION = 58; // pixels, two lines
const NARROW = 560;
const LEAST = { narrow: 128, wide: 190 }; // a tile's width
const CALM_MS = 90; // without scrolling, before pictures are asked for: what flies past isn't

export class Grid {
  #list;
  #items = [];
  #container;
  #options;
  #tiles = new Map(); // by id
  #columns = 1;
  #tile = 0;
  #row = 1;
  #active = null; // the id of the tile that Tab leads to
  #due = false;
  #calm = null;
  #lastTop = 0;

  /** `hrefOf(image)` is where a tile leads; `near()` is called when the end comes near. */
  constructor(container, list, options) {
    this.#container = container;
    this.#list = list;
    this.#options = options;
    const again = () => this.schedule();
    window.addEventListener("scroll", again, { passive: true });
    new ResizeObserver(again).observe(container);
    window.addEventListener("resize", again);
    container.addEventListener("keydown", (event) => this.#key(event));
    container.addEventListener("focusin", (event) => {
      const id = event.target.closest("li")?.dataset.id;
      if (id) this.#rove(id);
    });
  }

  /** Draws in the next frame. */
  schedule() {
    if (this.#due) return;
    this.#due = true;
    requestAnimationFrame(() => {
      this.#due = false;
      this.draw();
    });
  }

  draw() {
    const items = (this.#items = this.#list.items);
    const { width, top } = this.#container.getBoundingClientRect();
    if (!width) return;
    this.#measure(width);
    const rows = Math.ceil(items.length / this.#columns);
    this.#container.style.height = `${Math.max(0, rows * this.#row - GAP)}px`;

    const view = window.innerHeight;
    const around = view / 2;
    const first = Math.max(0, Math.floor((-top - around) / this.#row)) * this.#columns;
    const last = Math.min(items.length, Math.ceil((view + around - top) / this.#row) * this.#columns);
    this.#place(first, last);
    this.#pictures(Math.abs(top - this.#lastTop) > view);
    this.#lastTop = top;
    if ((rows * this.#row + top < view * 3) && !this.#list.done) this.#options.near();
  }

  #measure(width) {
    const least = width < NARROW ? LEAST.narrow : LEAST.wide;
    this.#columns = Math.max(1, Math.floor((width + GAP) / (least + GAP)));
    this.#tile = (width - GAP * (this.#columns - 1)) / this.#columns;
    this.#row = Math.round(this.#tile * 0.75) + CAPTION + GAP;
  }

  #place(first, last) {
    const wanted = new Map();
    for (let index = first; index < last; index += 1) wanted.set(this.#items[index].id, index);
    const focused = this.#container.contains(document.activeElement) ? document.activeElement.closest("li").dataset.id : null;
    // The tile with the focus stays, wherever one scrolls to, or the focus would be lost with it.
    const held = focused && !wanted.has(focused) ? this.#items.findIndex((image) => image.id === focused) : -1;
    for (const [id, tile] of this.#tiles) {
      if (wanted.has(id) || (id === focused && held >= 0)) continue;
      tile.release?.();
      tile.element.remove();
      this.#tiles.delete(id);
    }
    if (held >= 0) this.#put(focused, held);
    let next = null; // from the end, so that what is there needn't be moved
    for (const [id, index] of [...wanted].reverse()) {
      const element = this.#put(id, index);
      if (!element.isConnected) this.#container.insertBefore(element, next);
      else if (id !== focused && element.nextElementSibling !== next && next) this.#container.insertBefore(element, next);
      next = element;
    }
    if (!this.#tiles.has(this.#active)) this.#rove(this.#firstInView(wanted));
  }

  #firstInView(wanted) {
    for (const id of wanted.keys()) if (this.#tiles.get(id).element.getBoundingClientRect().top >= 0) return id;
    return wanted.keys().next().value ?? null;
  }

  /** The tile of an image, made if need be, at its place. */
  #put(id, index) {
    const image = this.#items[index];
    let tile = this.#tiles.get(id);
    if (!tile) this.#tiles.set(id, (tile = this.#make(image)));
    const x = (index % this.#columns) * (this.#tile + GAP);
    const y = Math.floor(index / this.#columns) * this.#row;
    const style = tile.element.style;
    style.width = `${this.#tile}px`;
    style.height = `${this.#row - GAP}px`;
    style.transform = `translate(${x}px, ${y}px)`;
    tile.element.setAttribute("aria-posinset", index + 1);
    tile.element.setAttribute("aria-setsize", this.#list.done ? this.#items.length : -1);
    this.#fill(tile, image);
    return tile.element;
  }

  #make(image) {
    const picture = h("img", { alt: "", decoding: "async", loading: "lazy", draggable: false });
    const frame = h("span", { class: "frame" }, picture, h("span", { class: "mark", "aria-hidden": "true" }));
    const name = h("span", { class: "name" });
    const state = h("span", { class: "state" });
    const link = h("a", { tabIndex: -1 }, frame, h("span", { class: "caption" }, name, state));
    const element = h("li", { dataset: { id: image.id } }, link);
    picture.addEventListener("load", () => frame.classList.add("loaded"));
    return { element, link, frame, picture, name, state, shown: null, release: null, image: null };
  }

  #fill(tile, image) {
    const href = this.#options.hrefOf(image);
    if (tile.link.getAttribute("href") !== href) tile.link.href = href;
    const name = nameOf(image.source_url);
    say(tile.name, name);
    tile.link.title = `${name} (${hostOf(image.source_url)})`;
    const line = standing(image);
    say(tile.state, line);
    if (tile.element.dataset.status !== image.status) {
      tile.element.dataset.status = image.status;
      tile.frame.title = STATUS[image.status] ?? "";
    }
    tile.image = image.content ? image : null;
  }

  /** Has pictures asked for: at once, or, while one flies through the list, when that is over. */
  #pictures(flying) {
    clearTimeout(this.#calm);
    const ask = () => {
      for (const tile of this.#tiles.values()) this.#picture(tile);
    };
    if (flying) this.#calm = setTimeout(ask, CALM_MS);
    else ask();
  }

  #picture(tile) {
    const { image } = tile;
    const wanted = image ? image.sha256 : null;
    if (tile.shown === wanted) return;
    tile.release?.();
    tile.release = null;
    tile.frame.classList.remove("loaded", "broken");
    tile.shown = wanted;
    if (image) {
      tile.release = show(tile.picture, image, pictureOf(image, this.#tile), () => tile.frame.classList.add("broken"));
    }
  }

  #rove(id) {
    const before = this.#tiles.get(this.#active);
    if (before) before.link.tabIndex = -1;
    this.#active = id;
    const now = this.#tiles.get(id);
    if (now) now.link.tabIndex = 0;
  }

  #key(event) {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const rows = Math.max(1, Math.floor((window.innerHeight - 120) / this.#row));
    const steps = {
      ArrowRight: 1, ArrowLeft: -1, ArrowDown: this.#columns, ArrowUp: -this.#columns,
      PageDown: rows * this.#columns, PageUp: -rows * this.#columns, Home: -Infinity, End: Infinity,
    };
    const step = steps[event.key];
    if (step === undefined) return;
    const id = event.target.closest("li")?.dataset.id;
    const index = this.#items.findIndex((image) => image.id === id);
    if (index < 0) return;
    event.preventDefault();
    this.focus(Math.min(this.#items.length - 1, Math.max(0, index + step)));
  }

  shows = (id) => this.#tiles.has(id);

  /** Moves the focus to the image with this index, and the page so that it is seen. */
  focus(index) {
    const image = this.#items[index];
    if (!image) return;
    const top = this.#container.getBoundingClientRect().top + Math.floor(index / this.#columns) * this.#row;
    const margin = parseFloat(getComputedStyle(document.documentElement).scrollPaddingTop) || 0;
    if (top < margin) window.scrollBy({ top: top - margin, behavior: "instant" });
    else if (top + this.#row > window.innerHeight) window.scrollBy({ top: top + this.#row - window.innerHeight, behavior: "instant" });
    this.draw();
    this.#tiles.get(image.id)?.link.focus({ preventScroll: true });
  }

  /** Moves the focus to an image by its id, if it is there. */
  focusOn(id) {
    const index = this.#items.findIndex((image) => image.id === id);
    if (index >= 0) this.focus(index);
  }
}

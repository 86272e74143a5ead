// The list of images as far as it is known: from the newest on, a page more whenever one is asked for.

import { cursorOf, get, query } from "./api.js";

const PAGE = 200;
const HEAD = 100;

/** What is kept of an image: a hundred thousand of them must fit. */
function slim(image) {
  const { id, status, source_url, added_at, width, height, format, size, sha256, error, next_attempt_at, page } = image;
  return {
    id, status, source_url, width, height, format, size, sha256, next_attempt_at,
    error: error && { reason: error.reason }, page: page && { found: page.found }, content: Boolean(image.links.content),
    time: Date.parse(added_at),
  };
}

/** Whether one image comes before another in the list: the newest first, as the server has it. */
const before = (one, other) => (one.time === other.time ? one.id > other.id : one.time > other.time);

export class ImageList {
  items = [];
  done = false;
  problem = null;
  loading = null;
  newer = false; // there are newer images than the first, which weren't put before it
  #byId = new Map();
  #cursor = null;
  #filters = {};
  #changed;
  #controller = new AbortController();
  #looking = false;

  /** `changed()` is called after every change. */
  constructor(changed) {
    this.#changed = changed;
  }

  /** Begins anew, with other filters or the same. */
  begin(filters = this.#filters) {
    this.#controller.abort();
    this.#controller = new AbortController();
    this.#filters = filters;
    this.items = [];
    this.#byId.clear();
    this.#cursor = null;
    this.done = this.newer = false;
    this.problem = this.loading = null;
    return this.more();
  }

  /** Loads the next page, unless one is being loaded or there is none. */
  more() {
    if (!this.loading && !this.done) this.loading = this.#load(this.#controller.signal);
    return this.loading;
  }

  async #load(signal) {
    this.problem = null;
    this.#changed();
    try {
      const page = await get(query("images", { ...this.#filters, limit: PAGE, cursor: this.#cursor }), { signal });
      if (signal.aborted) return;
      this.#cursor = cursorOf(page);
      this.done = this.#cursor === null;
      this.#append(page.items);
    } catch (error) {
      if (signal.aborted) return;
      this.problem = error;
    }
    this.loading = null;
    this.#changed();
  }

  #append(images) {
    for (const image of images) {
      if (this.#byId.has(image.id)) continue;
      const kept = slim(image);
      this.#byId.set(image.id, kept);
      this.items.push(kept);
    }
  }

  has = (id) => this.#byId.has(id);
  find = (id) => this.#byId.get(id);

  /** The image that many places after one; null beyond the ends. */
  beside(id, by) {
    const index = this.items.findIndex((image) => image.id === id);
    return index < 0 ? null : (this.items[index + by] ?? null);
  }

  /** Takes over what is known anew of images that are in the list. */
  update(...images) {
    let any = false;
    for (const image of images) {
      const known = this.#byId.get(image.id);
      if (known) any = Boolean(Object.assign(known, slim(image))) || any;
    }
    if (any) this.#changed();
  }

  /** Notes another status, until more is known. */
  mark(id, status) {
    const known = this.#byId.get(id);
    if (known && known.status !== status) {
      known.status = status;
      this.#changed();
    }
    return Boolean(known);
  }

  remove(id) {
    if (!this.#byId.delete(id)) return;
    this.items = this.items.filter((image) => image.id !== id);
    this.#changed();
  }

  /** Looks at the newest images again. With `merge` they replace what is newer than the last of them; else it is only noted that there are some. */
  async look(merge) {
    if (this.#looking || (this.loading && !this.items.length)) return;
    this.#looking = true;
    const signal = this.#controller.signal;
    try {
      const head = await get(query("images", { ...this.#filters, limit: HEAD }), { signal });
      if (signal.aborted) return;
      this.problem = null;
      this.#looked(head, merge);
    } catch (error) {
      if (!signal.aborted) this.problem = error;
    } finally {
      this.#looking = false;
    }
    if (!signal.aborted) this.#changed();
  }

  #looked(head, merge) {
    const newest = head.items.map((image) => {
      const known = this.#byId.get(image.id);
      return known ? Object.assign(known, slim(image)) : slim(image);
    });
    if (!merge) {
      this.newer ||= newest.some((image) => !this.#byId.has(image.id) && (!this.items.length || before(image, this.items[0])));
      return;
    }
    const last = newest.at(-1);
    const whole = head.next === null;
    // Everything is newer than what is known: what lies between isn't known, so that the list begins anew here.
    const gap = !whole && this.items.length > 0 && last && before(last, this.items[0]);
    const rest = whole || gap ? [] : this.items.filter((image) => last && before(last, image));
    if (gap || whole || !this.items.length) {
      this.#cursor = cursorOf(head);
      this.done = whole;
    }
    this.newer = false;
    this.items = [...newest, ...rest];
    this.#byId = new Map(this.items.map((image) => [image.id, image]));
  }
}

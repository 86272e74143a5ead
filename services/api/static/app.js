// The page: what there is, where one is, and what is told to whom.

import * as add from "./add.js";
import { announce } from "./announce.js";
import { each, get } from "./api.js";
import { byId, h, outward, say } from "./dom.js";
import * as failures from "./failures.js";
import * as filters from "./filters.js";
import { Grid } from "./grid.js";
import * as image from "./image.js";
import * as key from "./key.js";
import * as letters from "./letters.js";
import { ImageList } from "./list.js";
import * as live from "./live.js";
import * as router from "./router.js";
import * as strip from "./strip.js";
import { many, roughly } from "./words.js";

const TITLES = { images: "Bowerbird", failures: "Failures · Bowerbird", letters: "Dead letters · Bowerbird" };
const VIEWS = { images: "view-images", failures: "view-failures", letters: "view-letters" };
const EVENTS_MS = 1000; // news of the list are gathered for so long
const TOP = 200; // pixels from where the list begins: nearer than that, what is new comes in by itself

const list = new ImageList(listChanged);
const grid = new Grid(byId("grid"), list, {
  hrefOf: ({ id }) => router.address({ id, filters: router.place().filters }),
  near: () => list.problem === null && list.more(),
});

let shownFilters = null;

function listChanged() {
  grid.schedule();
  say(byId("grid-problem"), list.problem ? list.problem.message : "");
  const empty = list.done && !list.items.length;
  byId("grid-empty").hidden = !empty;
  byId("newer").hidden = !list.newer || router.place().view !== "images";
  const more = byId("grid-more");
  more.hidden = !list.items.length;
  image.listed();
  say(more, list.done ? many(list.items.length, "image") : "Loading more …");
}

function sayWhyEmpty(given) {
  const filtered = Object.keys(given).length > 0;
  byId("grid-empty").replaceChildren(
    h("h3", {}, filtered ? "Nothing matches" : "Nothing here yet"),
    h("p", {}, filtered ? "No image fits these filters. Widen them, or clear them." : "Paste the address of an image, or of a page with images, into the field above: it is fetched in the background, and appears here."),
    filtered ? h("a", { class: "button", href: "#/" }, "Show all images") : h("button", { type: "button", onclick: () => byId("add-urls").focus() }, "Add the first"),
  );
}

const atTop = () => byId("grid").getBoundingClientRect().top > -TOP;

/** Looks for what is new; where somebody has scrolled down, nothing may move under their eyes. */
const look = () => router.place().view === "images" && list.look(atTop());

const told = new Set(); // the images that something has happened to
let gathering = null;

function happened(event) {
  if (!event.id) return;
  list.mark(event.id, event.status ?? event.event);
  told.add(event.id);
  gathering ??= setTimeout(gathered, EVENTS_MS);
}

async function gathered() {
  gathering = null;
  // The newest images are most of those that anything happens to. Of the others only those that are seen are asked for.
  const seen = [...told].filter((id) => grid.shows(id));
  told.clear();
  await look();
  const behind = seen.filter((id) => list.find(id)?.status === "stored" && !list.find(id).content);
  await each(behind, async (id) => list.update(await get(`images/${id}`)));
}

function moved(here, before) {
  for (const [view, id] of Object.entries(VIEWS)) byId(id).hidden = view !== here.view;
  for (const link of document.querySelectorAll("nav [data-view]")) {
    if (link.dataset.view === here.view) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = TITLES[here.view];
  if (here.view === "images") showImages(here);
  // They share a dialog: what isn't shown any more leaves it first.
  if (here.view === "images") letters.open(null);
  image.display(here.view === "images" ? here.id : null);
  if (here.view !== "images") letters.open(here.view === "letters" ? here.id : null);
  if (before?.view === here.view) return;
  if (here.view === "failures") failures.display();
  if (here.view === "letters") letters.display();
  // Where one moves to another view the focus goes along; at first it stays with the browser.
  if (before && !here.id) (byId(VIEWS[here.view]).querySelector("h1[tabindex]") ?? byId("main")).focus({ preventScroll: true });
}

function showImages(here) {
  filters.show(here.filters);
  const wanted = JSON.stringify(here.filters);
  if (wanted !== shownFilters) {
    const first = shownFilters === null;
    shownFilters = wanted;
    sayWhyEmpty(here.filters);
    if (byId("grid").getBoundingClientRect().top < 0 && !first) byId("filters").scrollIntoView();
    list.begin(here.filters).then(() => !first && list.problem === null && announce(`${many(list.items.length, "image")}${list.done ? "" : " or more"}`));
  } else grid.schedule();
}

function tellStats(stats) {
  const failed = stats.images?.failed ?? 0;
  failures.count(failed);
  for (const [id, value] of [["count-failed", failed], ["count-letters", stats.dead_letters ?? 0]]) {
    const element = byId(id);
    element.hidden = !value;
    say(element, roughly(value));
  }
}

const LINK_STATES = { live: "Live", asking: "Live", away: "Reconnecting …" };

function tellLink(state) {
  const element = byId("link-state");
  element.dataset.state = state;
  say(element, LINK_STATES[state]);
  element.title = { live: "Told of each event as it happens", asking: "Asks every two seconds", away: "The server doesn't answer; it is tried again by itself" }[state];
}

async function learnSettings() {
  const settings = await get("gallery.json").catch(() => null);
  if (!settings) return;
  add.limit(settings.batch_urls);
  say(byId("version"), `Bowerbird ${settings.version}`);
  const links = [[settings.management_ui, "RabbitMQ"], [settings.grafana_url, "Grafana"]].filter(([url]) => url);
  byId("elsewhere").append(...links.map(([url, text]) => h("li", {}, outward(url, text))));
}

function begin() {
  key.start();
  filters.start();
  add.start(look);
  image.start(list, (id) => grid.focusOn(id));
  byId("detail").addEventListener("cancel", (event) => {
    event.preventDefault();
    router.leave();
  });
  byId("detail").addEventListener("click", (event) => event.target === byId("detail") && router.leave());
  byId("newer").addEventListener("click", () => {
    window.scrollTo({ top: 0, behavior: "instant" });
    byId("newer").hidden = true;
    list.look(true);
    byId("main").focus({ preventScroll: true });
  });
  document.querySelector(".skip").addEventListener("click", (event) => {
    event.preventDefault();
    byId("main").focus();
  });
  window.addEventListener("scroll", () => list.newer && atTop() && look(), { passive: true });
  router.onMove(moved);
  router.start();
  live.onChange(happened);
  live.onTick(look);
  live.start(tellLink);
  strip.start(tellStats);
  learnSettings();
}

begin();

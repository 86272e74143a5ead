// Where one is: the address behind the #, so that every state can be linked to and Back works.
//   #/?status=failed&host=…     the images, filtered
//   #/images/{id}?status=…      one of them, over the same list
//   #/failures   #/dead-letters   #/dead-letters/{id}

export const FILTERS = ["status", "format", "host", "page", "batch"];

/** A place: `view`, maybe the `id` of what is open, and the `filters` of the list. */
export function parse(hash) {
  const [path, search = ""] = hash.replace(/^#/, "").split("?", 2);
  const parameters = new URLSearchParams(search);
  const filters = Object.fromEntries(FILTERS.filter((name) => parameters.get(name)).map((name) => [name, parameters.get(name)]));
  const [, first = "", id = null] = path.split("/");
  if (first === "images" && id) return { view: "images", id, filters };
  if (first === "failures") return { view: "failures", id, filters };
  if (first === "dead-letters") return { view: "letters", id, filters };
  return { view: "images", id: null, filters };
}

const PATHS = { images: (id) => (id ? `/images/${id}` : "/"), failures: (id) => (id ? `/failures/${id}` : "/failures"), letters: (id) => (id ? `/dead-letters/${id}` : "/dead-letters") };

/** The address of a place. */
export function address({ view = "images", id = null, filters = {} }) {
  const search = String(new URLSearchParams(FILTERS.filter((name) => filters[name]).map((name) => [name, filters[name]])));
  return `#${PATHS[view](id && encodeURIComponent(id))}${search && `?${search}`}`;
}

const watchers = [];
let here = parse(location.hash);
let begun = false;
let deep = 0; // how many places were gone to from within: that often Back stays on this page

export const place = () => here;
/** `watcher(here, before)` is called after every move, and at first, without a `before`. */
export const onMove = (watcher) => watchers.push(watcher);

export function go(where) {
  location.hash = address(where);
}

/** As `go`, without an entry of its own in the history. */
export function become(where) {
  history.replaceState(history.state, "", address(where));
  moved();
}

/** Closes what is open over a list: back to where it was opened, if it was opened from here. */
export function leave() {
  if (deep > 0) history.back();
  else become({ ...here, id: null });
}

function moved() {
  const before = begun ? here : null;
  begun = true;
  here = parse(location.hash);
  for (const watcher of watchers) watcher(here, before);
}

export function start() {
  deep = history.state?.depth ?? 0;
  history.replaceState({ depth: deep }, "");
  window.addEventListener("hashchange", () => {
    // An entry that is new has no state yet; Back and Forward bring one along.
    if (history.state?.depth === undefined) history.replaceState({ depth: deep + 1 }, "");
    deep = history.state.depth;
    moved();
  });
  moved();
}

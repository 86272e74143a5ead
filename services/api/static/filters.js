// What the list is narrowed to: controls that say what the address says, and the other way round.

import { byId, h } from "./dom.js";
import { FILTERS, go } from "./router.js";
import { FORMATS, STATUS } from "./words.js";

const TYPING_MS = 500;
const CONTROLS = { status: "filter-status", format: "filter-format", host: "filter-host" };
const OWNERS = { page: "Of one page", batch: "Of one batch" };

export function start() {
  byId("filter-status").append(h("option", { value: "" }, "Any"), ...Object.entries(STATUS).map(([value, text]) => h("option", { value }, text)));
  byId("filter-format").append(h("option", { value: "" }, "Any"), ...FORMATS.map((value) => h("option", { value }, value.toUpperCase())));
  const form = byId("filters");
  let timer = null;
  const apply = () => {
    clearTimeout(timer);
    const filters = { ...shown };
    for (const [name, id] of Object.entries(CONTROLS)) filters[name] = byId(id).value.trim();
    go({ filters });
  };
  form.addEventListener("change", apply);
  byId("filter-host").addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(apply, TYPING_MS);
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    apply();
  });
  form.addEventListener("reset", (event) => {
    event.preventDefault();
    go({ filters: {} });
    byId("filter-status").focus();
  });
}

let shown = {};

/** Shows the filters that the address has. */
export function show(filters) {
  shown = filters;
  for (const [name, id] of Object.entries(CONTROLS)) {
    const control = byId(id);
    if (control.value.trim() !== (filters[name] ?? "")) control.value = filters[name] ?? "";
  }
  const chips = Object.entries(OWNERS)
    .filter(([name]) => filters[name])
    .map(([name, text]) =>
      h("button", { type: "button", class: "chip", title: filters[name], onclick: () => go({ filters: { ...filters, [name]: undefined } }) },
        text, h("span", { "aria-hidden": "true" }, " ×"), h("span", { class: "out-of-sight" }, ": remove this filter")),
    );
  byId("chips").replaceChildren(...chips);
  byId("filters-clear").hidden = !FILTERS.some((name) => filters[name]);
}

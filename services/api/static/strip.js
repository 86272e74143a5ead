// How it is going: rates, failures, queues. Asked for every two seconds while somebody looks.

import { get, isMissing } from "./api.js";
import { byId, h, say, svg } from "./dom.js";
import { number, perSecond, roughly } from "./words.js";

const EVERY_MS = 2000;
const SAMPLES = 60;
const WIDTH = 120;
const HEIGHT = 28;
const QUEUES = 4;

const stored = [];
const failed = [];
let parts = null;
let told = () => {};

/** `tell(stats)` is called with each answer. */
export function start(tell) {
  told = tell;
  look();
}

async function look() {
  if (!document.hidden) {
    try {
      draw(await get("stats"));
    } catch (error) {
      if (isMissing(error)) return; // a server without them
      byId("strip").classList.add("stale");
    }
  }
  setTimeout(look, EVERY_MS);
}

function draw(stats) {
  told(stats);
  const strip = byId("strip");
  strip.hidden = false;
  strip.classList.remove("stale");
  parts ??= make(strip);
  const rate = stats.rate ?? { stored_per_second: 0, failed_per_second: 0 };
  push(stored, rate.stored_per_second);
  push(failed, rate.failed_per_second);
  say(parts.rate, perSecond(rate.stored_per_second));
  const all = rate.stored_per_second + rate.failed_per_second;
  say(parts.failing, all > 0 ? `${Math.round((rate.failed_per_second / all) * 100)} %` : "0 %");
  const most = Math.max(...stored, ...failed);
  parts.chart.toggleAttribute("hidden", most === 0);
  parts.line.setAttribute("d", path(stored, most || 1));
  parts.area.setAttribute("d", `${path(stored, most || 1)}V${HEIGHT}H${startOf(stored).toFixed(1)}Z`);
  parts.failedLine.setAttribute("d", path(failed, most || 1));
  say(parts.stored, roughly(stats.images?.stored ?? 0));
  say(parts.waiting, roughly((stats.images?.queued ?? 0) + (stats.images?.delayed ?? 0)));
  queues(stats.queues ?? []);
  const gone = missing(stats.queues ?? []);
  say(parts.warning, gone.length ? `No ${gone.join(" and no ")} is running` : "");
}

const push = (samples, value) => {
  samples.push(value);
  if (samples.length > SAMPLES) samples.shift();
};

const STEP = WIDTH / (SAMPLES - 1);
const startOf = (samples) => (SAMPLES - samples.length) * STEP;

/** The samples as a line, the newest on the right. */
function path(samples, most) {
  const points = samples.map((value, index) => `${(startOf(samples) + index * STEP).toFixed(1)} ${(HEIGHT - 1.5 - (value / most) * (HEIGHT - 3)).toFixed(1)}`);
  return `M${points[0]}L${points.join("L")}`;
}

function make(strip) {
  const fact = (name) => {
    const value = h("dd", {}, "0");
    return { value, element: h("div", {}, h("dt", {}, name), value) };
  };
  const [rate, failing, kept, waiting] = ["Rate", "Failing", "Stored", "On the way"].map(fact);
  const area = svg("path", { class: "area" });
  const line = svg("path", { class: "line" });
  const failedLine = svg("path", { class: "line failed" });
  const chart = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, width: WIDTH, height: HEIGHT, "aria-hidden": "true", class: "spark" }, area, line, failedLine);
  const list = h("ul", { class: "queues", role: "list", "aria-label": "Queues" });
  const warning = h("p", { class: "problem" });
  strip.replaceChildren(h("dl", {}, rate.element, failing.element, kept.element, waiting.element), chart, list, warning);
  return { chart, warning, rate: rate.value, failing: failing.value, stored: kept.value, waiting: waiting.value, area, line, failedLine, list };
}

/** The queues that hold something, the fullest first. */
function queues(all) {
  const shown = all.filter((queue) => queue.messages > 0).sort((one, other) => other.messages - one.messages).slice(0, QUEUES);
  const most = Math.max(1, ...shown.map((queue) => queue.messages));
  const known = new Map([...parts.list.children].map((item) => [item.dataset.queue, item]));
  const items = shown.map((queue) => {
    const item = known.get(queue.name) ?? h("li", { dataset: { queue: queue.name } }, h("span", { class: "name" }, queue.name), h("meter", { min: 0, "aria-hidden": "true" }), h("span", { class: "depth" }));
    const [, meter, depth] = item.children;
    meter.max = most;
    meter.value = queue.messages;
    say(depth, number(queue.messages));
    return item;
  });
  if (items.length !== known.size || items.some((item, index) => parts.list.children[index] !== item)) parts.list.replaceChildren(...items);
}

/** Services none of whose queues are read: nothing of theirs happens. A delay's queue is read by nobody, and so are the dead letters here. */
function missing(all) {
  const read = new Map();
  for (const { name, consumers } of all) {
    const [service, rest] = name.split(".", 2);
    if (rest && !name.includes(".in-")) read.set(service, (read.get(service) ?? 0) + consumers);
  }
  return [...read].filter(([, consumers]) => !consumers).map(([service]) => service);
}

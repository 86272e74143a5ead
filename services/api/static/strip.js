// How it is going: rates, failures, queues. Asked for every two seconds while somebody looks.

import { get, isMissing } from "./api.js";
import { byId, h, say, svg } from "./dom.js";
import { number, perSecond, roughly } from "./words.js";

const EVERY_MS = 2000;
const SAMPLES = 60;
const WIDTH = 120;
const HEIGHT = 28;

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
  parts.line.setAttribute("d", path(stored, Math.max(...stored, ...failed, 1)));
  parts.area.setAttribute("d", `${path(stored, Math.max(...stored, ...failed, 1))}V${HEIGHT}H0Z`);
  parts.failedLine.setAttribute("d", path(failed, Math.max(...stored, ...failed, 1)));
  say(parts.stored, roughly(stats.images?.stored ?? 0));
  say(parts.waiting, roughly((stats.images?.queued ?? 0) + (stats.images?.delayed ?? 0)));
  queues(stats.queues ?? []);
}

const push = (samples, value) => {
  samples.push(value);
  if (samples.length > SAMPLES) samples.shift();
};

/** The samples as a line, the newest on the right. */
function path(samples, most) {
  const step = WIDTH / (SAMPLES - 1);
  const from = (SAMPLES - samples.length) * step;
  const points = samples.map((value, index) => `${(from + index * step).toFixed(1)} ${(HEIGHT - 1.5 - (value / most) * (HEIGHT - 3)).toFixed(1)}`);
  return points.length ? `M${from.toFixed(1)} ${points[0].split(" ")[1]}L${points.join("L")}` : "";
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
  strip.replaceChildren(h("dl", {}, rate.element, failing.element, kept.element, waiting.element), chart, list);
  return { rate: rate.value, failing: failing.value, stored: kept.value, waiting: waiting.value, area, line, failedLine, list };
}

/** Those that hold something, or that nobody reads although somebody should. */
function queues(all) {
  const shown = all.filter((queue) => queue.messages > 0 || (queue.consumers === 0 && !/\.in-|^dead-letters$/.test(queue.name)));
  const most = Math.max(1, ...shown.map((queue) => queue.messages));
  const known = new Map([...parts.list.children].map((item) => [item.dataset.queue, item]));
  const items = shown.map((queue) => {
    const item = known.get(queue.name) ?? h("li", { dataset: { queue: queue.name } }, h("span", { class: "name" }, queue.name), h("meter", { min: 0, "aria-hidden": "true" }), h("span", { class: "depth" }));
    const [, meter, depth] = item.children;
    meter.max = most;
    meter.value = queue.messages;
    say(depth, `${number(queue.messages)}${queue.consumers === 0 && !/\.in-/.test(queue.name) ? ", nobody reads it" : ""}`);
    return item;
  });
  if (items.length !== known.size || items.some((item, index) => parts.list.children[index] !== item)) parts.list.replaceChildren(...items);
}


// Elements, made from text only: nothing that came from elsewhere is ever read as markup.

/** An element. Properties that begin with "on" are listeners, those with a hyphen or "role" attributes, `class` and `dataset` what they say. */
export function h(name, properties = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (key === "class") element.className = value;
    else if (key === "dataset") Object.assign(element.dataset, value);
    else if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key.includes("-") || key === "role" || key === "for") element.setAttribute(key, value);
    else element[key] = value;
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

const SVG = "http://www.w3.org/2000/svg";

/** An element of SVG, with attributes. */
export function svg(name, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

export const byId = (id) => document.getElementById(id);

/** Changes text only where it differs, so that live regions stay quiet and nothing is laid out again. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** A link to somebody else's page, which doesn't learn where its visitor comes from. Only http and https become links at all. */
export function outward(url, text = url) {
  let parsed = null;
  try {
    parsed = new URL(url);
  } catch {
    // shown as text
  }
  if (!parsed || !/^https?:$/.test(parsed.protocol)) return h("span", {}, text);
  return h("a", { href: parsed.href, rel: "noreferrer noopener external", target: "_blank" }, text, h("span", { class: "out-of-sight" }, " (opens in a new tab)"));
}

/** A button that can't be pressed again while what it does is under way; what goes wrong goes to `failed`. */
export function action(label, act, { failed, ...properties } = {}) {
  const button = h("button", { type: "button", ...properties }, label);
  button.addEventListener("click", async () => {
    if (button.getAttribute("aria-disabled") === "true") return;
    // aria-disabled rather than disabled: a disabled button loses the focus.
    button.setAttribute("aria-disabled", "true");
    try {
      await act(button);
    } catch (error) {
      failed(error);
    } finally {
      button.removeAttribute("aria-disabled");
    }
  });
  return button;
}

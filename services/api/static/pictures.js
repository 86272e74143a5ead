// Pictures of images, from this server only. Where it wants a key they are fetched, since <img> can't send one, and shown as blobs.

import { get, isMissing, key, request } from "./api.js";

const WIDTHS = [160, 320, 640];
const AT_ONCE = 6;

let thumbnails = true;
let probe = null;

/** The address of a picture at least so many CSS pixels wide: a thumbnail, or the original where the server makes none. */
export function pictureOf(image, width) {
  if (!thumbnails || width > WIDTHS.at(-1)) return contentOf(image);
  const pixels = width * Math.min(window.devicePixelRatio || 1, 2);
  return `images/${image.id}/thumbnail?w=${WIDTHS.find((one) => one >= pixels) ?? WIDTHS.at(-1)}`;
}

/** The address of the bytes; other bytes have another one, so that a refreshed image isn't shown as it was. */
export const contentOf = (image) => (image.sha256 ? `images/${image.id}/versions/${image.sha256}/content` : `images/${image.id}/content`);

/** Shows an address in an <img>; if it is a thumbnail that can't be had, the original. Returns what lets go of it again. */
export function show(img, address, original, broken) {
  const controller = new AbortController();
  let url = null;
  const use = async (wanted) => {
    if (key() === null) {
      img.src = wanted;
      return;
    }
    const blob = await queued(wanted, controller.signal);
    if (controller.signal.aborted) return;
    if (url) URL.revokeObjectURL(url);
    url = URL.createObjectURL(blob);
    img.src = url;
  };
  const failed = async () => {
    if (controller.signal.aborted) return;
    if (address !== original && img.dataset.shown !== original) {
      img.dataset.shown = original;
      probe ??= probed(address);
      use(original).catch(() => broken());
    } else broken();
  };
  img.dataset.shown = address;
  img.addEventListener("error", failed, { signal: controller.signal });
  use(address).catch(failed);
  return () => {
    controller.abort();
    img.removeAttribute("src"); // stops a download that nobody waits for
    if (url) URL.revokeObjectURL(url);
  };
}

/** Whether the server makes thumbnails at all: asked once, when the first of them can't be had. */
async function probed(address) {
  try {
    await get(address);
  } catch (error) {
    if (isMissing(error)) thumbnails = false;
  }
}

// The latest first: that is what is looked at.
const waiting = [];
let active = 0;

function queued(address, signal) {
  return new Promise((resolve, reject) => {
    waiting.push({ address, signal, resolve, reject });
    pump();
  });
}

function pump() {
  while (active < AT_ONCE && waiting.length) {
    const { address, signal, resolve, reject } = waiting.pop();
    if (signal.aborted) continue;
    active += 1;
    fetched(address, signal)
      .then(resolve, reject)
      .finally(() => {
        active -= 1;
        pump();
      });
  }
}

async function fetched(address, signal) {
  const answer = await request(address, { signal });
  if (!answer.ok) throw new Error(`${answer.status}`);
  return answer.blob();
}

/** Saves the bytes at an address as a file. */
export async function save(address, name) {
  const answer = await request(address);
  if (!answer.ok) throw new Error(`The server answered ${answer.status}.`);
  const url = URL.createObjectURL(await answer.blob());
  const link = document.createElement("a");
  Object.assign(link, { href: url, download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

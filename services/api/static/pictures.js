// Pictures of images, from this server only. Where it wants a key they are fetched, since <img> can't send one, and shown as blobs.

import { get, isMissing, key, request } from "./api.js";

const WIDTHS = [160, 320, 640];
const AT_ONCE = 6;
const BUSY_MS = 3000;
const TRIES = 4;
const ORIGINAL_BYTES = 2 * 1024 * 1024; // larger ones aren't taken for a tile

let thumbnails = true; // whether the server makes any

/** The address of a picture at least so many CSS pixels wide: a thumbnail, or the original where the server makes none. */
export function pictureOf(image, width) {
  if (!thumbnails || width > WIDTHS.at(-1)) return contentOf(image);
  const pixels = width * Math.min(window.devicePixelRatio || 1, 2);
  return `images/${image.id}/thumbnail?w=${WIDTHS.find((one) => one >= pixels) ?? WIDTHS.at(-1)}`;
}

/** The address of the bytes; other bytes have another one, so that a refreshed image isn't shown as it was. */
export const contentOf = (image) => (image.sha256 ? `images/${image.id}/versions/${image.sha256}/content` : `images/${image.id}/content`);

/**
 * Shows an address in an <img>. Where it is a thumbnail that can't be had, the original takes its place, unless that is large;
 * `broken()` is called when there is nothing to show. Returns what lets go of it again.
 */
export function show(img, image, address, broken) {
  const controller = new AbortController();
  const { signal } = controller;
  let url = null;
  let tries = 0;
  const use = async (wanted) => {
    img.dataset.shown = wanted;
    if (key() === null) {
      img.src = wanted;
      return;
    }
    const blob = await queued(wanted, signal);
    if (signal.aborted) return;
    if (url) URL.revokeObjectURL(url);
    url = URL.createObjectURL(blob);
    img.src = url;
  };
  const failed = async () => {
    if (signal.aborted) return;
    tries += 1;
    const next = isThumbnail(img.dataset.shown) ? await instead(image, address, tries < TRIES, signal) : null;
    if (signal.aborted) return;
    if (next) use(next).catch(failed);
    else broken();
  };
  img.addEventListener("error", failed, { signal });
  use(address).catch(failed);
  return () => {
    controller.abort();
    img.removeAttribute("src"); // stops a download that nobody waits for
    if (url) URL.revokeObjectURL(url);
  };
}

const isThumbnail = (address) => address.includes("/thumbnail?");

/** What to show in place of a thumbnail that can't be had: itself, a little later, if the server is only busy; else the original. */
async function instead(image, address, again, signal) {
  if (thumbnails) {
    try {
      await get(address, { signal });
    } catch (error) {
      if (signal.aborted) return null;
      if (again && (error.status === 503 || error.status === 200)) {
        await new Promise((resolve) => setTimeout(resolve, BUSY_MS));
        return address;
      }
      if (isMissing(error)) thumbnails = false; // a server that makes none
    }
  }
  return image.size <= ORIGINAL_BYTES ? `images/${image.id}/content` : null;
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

// Plain words for what the API says in terms.

export const STATUS = {
  queued: "Waiting",
  delayed: "Will be tried again",
  stored: "Stored",
  failed: "Failed",
  expanded: "Page",
};

export const FORMATS = ["jpeg", "png", "gif", "webp", "avif", "tiff", "bmp", "ico"];

/** Reasons of failures: what they are called, and what they mean. */
const REASONS = {
  blocked: ["Not allowed", "The address leads into a private network, or to a port that may not be asked. BOWERBIRD_FETCH_ALLOW can allow it."],
  dns: ["Host not found", "The host's name has no address. It may be misspelt, or gone."],
  connect: ["No connection", "The host's server doesn't accept connections."],
  tls: ["No secure connection", "The host's certificate isn't valid, or it doesn't speak TLS."],
  timeout: ["Too slow", "The host didn't answer, or didn't finish, in time."],
  http_status: ["Refused by the host", "The host answered with an error, such as 404 Not Found."],
  too_large: ["Too large", "The file is larger than BOWERBIRD_MAX_IMAGE_BYTES allows."],
  truncated: ["Cut short", "The connection ended before the file was complete."],
  not_an_image: ["Not an image", "What came is neither an image nor a page."],
  unsupported_format: ["Unknown kind of image", "It is an image, but in a format that isn't kept here."],
  too_many_pixels: ["Too many pixels", "It has more pixels or frames than the settings allow."],
  redirect: ["Bad redirect", "The host sent the request in circles, or to where it may not go."],
  encoding: ["Unreadable encoding", "The host compressed the answer in a way that isn't read here."],
};

export const reasonTitle = (reason) => REASONS[reason]?.[0] ?? reason;
export const reasonMeaning = (reason) => REASONS[reason]?.[1] ?? "";

const whole = new Intl.NumberFormat("en-GB");
const short = new Intl.NumberFormat("en-GB", { maximumSignificantDigits: 3 });
const compact = new Intl.NumberFormat("en-GB", { notation: "compact", maximumSignificantDigits: 3 });
const clock = new Intl.DateTimeFormat("en-GB", { timeStyle: "medium" });
const moment = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "medium" });

export const number = (value) => whole.format(value);
export const roughly = (value) => (value < 10_000 ? whole.format(value) : compact.format(value));
export const perSecond = (value) => `${value < 0.05 ? "0" : short.format(value)}/s`;

/** "1 image", "2 images". */
export const many = (count, one, more = `${one}s`) => `${whole.format(count)} ${count === 1 ? one : more}`;

export function bytes(count) {
  if (count < 1000) return many(count, "byte");
  for (const unit of ["kB", "MB", "GB"]) {
    count /= 1000;
    if (count < 999.5 || unit === "GB") return `${short.format(count)} ${unit}`;
  }
}

/** How long something took, from milliseconds. */
export const took = (milliseconds) => (milliseconds < 1000 ? `${milliseconds} ms` : `${short.format(milliseconds / 1000)} s`);

/** A time of a day; with its date unless that is today's. */
export function at(text) {
  const time = new Date(text);
  return time.toDateString() === new Date().toDateString() ? clock.format(time) : moment.format(time);
}

export const atFully = (text) => moment.format(new Date(text));

/** "in 12 s", "in 3 min"; "now" for what is due. */
export function until(text) {
  const seconds = Math.round((new Date(text) - Date.now()) / 1000);
  if (seconds <= 0) return "now";
  if (seconds < 90) return `in ${seconds} s`;
  if (seconds < 5400) return `in ${Math.round(seconds / 60)} min`;
  return `in ${Math.round(seconds / 3600)} h`;
}

/** What people would call an image: the file's name in its URL, or the host. */
export function nameOf(url) {
  try {
    const { pathname, host } = new URL(url);
    const last = pathname.split("/").filter(Boolean).pop();
    return last ? decoded(last) : host;
  } catch {
    return url;
  }
}

export function hostOf(url) {
  try {
    return new URL(url).hostname;
  } catch {
    return "";
  }
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** One line on how an image is. */
export function standing(image) {
  switch (image.status) {
    case "stored":
      return image.width ? `${image.width} × ${image.height} · ${image.format.toUpperCase()}` : "Stored";
    case "failed":
      return image.error ? reasonTitle(image.error.reason) : "Failed";
    case "delayed":
      return image.next_attempt_at ? `Tried again ${until(image.next_attempt_at)}` : STATUS.delayed;
    case "expanded":
      return image.page ? `Page with ${many(image.page.found, "image")}` : "Page";
    default:
      return STATUS[image.status] ?? image.status;
  }
}

const ORDINALS = { one: "st", two: "nd", few: "rd", other: "th" };
const ordinal = new Intl.PluralRules("en-GB", { type: "ordinal" });
export const nth = (count) => `${whole.format(count)}${ORDINALS[ordinal.select(count)]}`;

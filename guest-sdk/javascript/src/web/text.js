// `TextEncoder` and `TextDecoder` after the Encoding Standard, for UTF-8 alone.

import { bytesOf, fromText, toLatin1, toText, toTextLossy } from "../bytes.js";

export class TextEncoder {
  get encoding() {
    return "utf-8";
  }

  encode(text = "") {
    return fromText(String(text));
  }

  encodeInto(text, target) {
    let read = 0;
    let written = 0;
    for (const character of String(text)) {
      const bytes = fromText(character);
      if (written + bytes.length > target.length) break;
      target.set(bytes, written);
      read += character.length;
      written += bytes.length;
    }
    return { read, written };
  }
}

const LABELS = { "utf-8": "utf-8", utf8: "utf-8", "unicode-1-1-utf-8": "utf-8" };

export class TextDecoder {
  #fatal;
  #ignoreBom;
  #rest = new Uint8Array();

  constructor(label = "utf-8", { fatal = false, ignoreBOM = false } = {}) {
    if (!(String(label).trim().toLowerCase() in LABELS))
      throw new RangeError(`the only encoding here is utf-8, not ${label}`);
    this.#fatal = Boolean(fatal);
    this.#ignoreBom = Boolean(ignoreBOM);
  }

  get encoding() {
    return "utf-8";
  }

  get fatal() {
    return this.#fatal;
  }

  get ignoreBOM() {
    return this.#ignoreBom;
  }

  decode(input = new Uint8Array(), { stream = false } = {}) {
    let bytes = bytesOf(input);
    if (!bytes) throw new TypeError("only an ArrayBuffer or a view of one can be decoded");
    if (this.#rest.length > 0) bytes = Uint8Array.of(...this.#rest, ...bytes);
    const whole = stream ? bytes.length - unfinished(bytes) : bytes.length;
    this.#rest = bytes.slice(whole);
    const text = this.#fatal ? toText(bytes.subarray(0, whole)) : toTextLossy(bytes.subarray(0, whole));
    if (text === undefined) throw new TypeError("The encoded data was not valid for encoding utf-8");
    return this.#ignoreBom ? text : text.replace(/^\ufeff/, "");
  }
}

/** How many bytes at the end are the beginning of a sequence that may go on. */
function unfinished(bytes) {
  const tail = toLatin1(bytes.subarray(-3));
  return /(?:[\xc2-\xf4]|[\xe0-\xf4][\x80-\xbf]|[\xf0-\xf4][\x80-\xbf]{2})$/.exec(tail)?.[0].length ?? 0;
}

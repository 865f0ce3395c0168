// Text and bytes. The engine has no text encoder and walks a string slowly; what it does fast, in C, is base64. Hence
// the detours, for all but short strings.

const SHORT = 24;
/** Bytes or code units that take a detour at once: it needs several times their memory. */
const PIECE = 1 << 18;

/** Bytes that are the code units of a string, all of them below 256. */
export function fromLatin1(text) {
  return Uint8Array.fromBase64(btoa(text));
}

/** The string whose code units are these bytes. */
export function toLatin1(bytes) {
  return bytes.length <= SHORT ? String.fromCharCode.apply(null, bytes) : atob(bytes.toBase64());
}

/** Writes a short string whose code units are all below `limit` to a place in bytes. False if it is not one. */
export function writeShort(text, limit, bytes, at) {
  const { length } = text;
  if (length > SHORT) return false;
  for (let i = 0; i < length; i++) {
    const unit = text.charCodeAt(i);
    if (unit >= limit) return false;
    bytes[at + i] = unit;
  }
  return true;
}

/** The UTF-8 of a string. Halves of surrogate pairs become U+FFFD. */
export function fromText(text) {
  return text.length <= PIECE ? fromPiece(text) : joined(textPieces(text));
}

function* textPieces(text) {
  for (let at = 0; at < text.length;) {
    let end = Math.min(at + PIECE, text.length);
    // The first half of a surrogate pair goes with the other one.
    if (end < text.length && (text.charCodeAt(end - 1) & 0xfc00) === 0xd800) end -= 1;
    yield fromPiece(text.slice(at, end));
    at = end;
  }
}

function joined(parts) {
  const list = [...parts];
  const bytes = new Uint8Array(list.reduce((length, part) => length + part.length, 0));
  let at = 0;
  for (const part of list) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

function fromPiece(text) {
  if (text.length <= SHORT) {
    const bytes = new Uint8Array(text.length);
    if (writeShort(text, 0x80, bytes, 0)) return bytes;
  }
  return fromLatin1(isAscii(text) ? text : unescape(encodeURIComponent(text.toWellFormed())));
}

/** The string that these bytes of valid UTF-8 are; undefined if they are not valid. */
export function toText(bytes) {
  const latin1 = toLatin1(bytes);
  if (isAscii(latin1)) return latin1;
  try {
    return decodeURIComponent(escape(latin1));
  } catch {
    return undefined;
  }
}

/** Of sequences of two to four bytes of UTF-8 all but the last byte. */
const ALL_BUT_LAST = [
  "[\\xc2-\\xdf]",
  "\\xe0[\\xa0-\\xbf]|[\\xe1-\\xec\\xee\\xef][\\x80-\\xbf]|\\xed[\\x80-\\x9f]",
  "\\xf0[\\x90-\\xbf][\\x80-\\xbf]|[\\xf1-\\xf3][\\x80-\\xbf]{2}|\\xf4[\\x80-\\x8f][\\x80-\\xbf]",
].join("|");
/** The longest beginnings of sequences of three and four bytes, without their last byte. */
const UNFINISHED = [
  "\\xe0[\\xa0-\\xbf]|[\\xe1-\\xec\\xee\\xef][\\x80-\\xbf]|\\xed[\\x80-\\x9f]",
  "\\xf0[\\x90-\\xbf][\\x80-\\xbf]?|[\\xf1-\\xf3][\\x80-\\xbf]{1,2}|\\xf4[\\x80-\\x8f][\\x80-\\xbf]?",
].join("|");
const PARTS = new RegExp(`[\\x00-\\x7f]+|(?:${ALL_BUT_LAST})[\\x80-\\xbf]|${UNFINISHED}|[^]`, "g");

/** The string that these bytes are, with U+FFFD in place of each longest part that is not valid UTF-8. */
export function toTextLossy(bytes) {
  if (bytes.length <= PIECE) return toPieceLossy(bytes);
  const pieces = [];
  for (let at = 0; at < bytes.length;) {
    let end = Math.min(at + PIECE, bytes.length);
    // A sequence is never divided: three steps back there is a first byte, or what is there is none.
    for (let steps = 0; steps < 3 && end < bytes.length && (bytes[end] & 0xc0) === 0x80; steps++) end -= 1;
    pieces.push(toPieceLossy(bytes.subarray(at, end)));
    at = end;
  }
  return pieces.join("");
}

function toPieceLossy(bytes) {
  const text = toText(bytes);
  if (text !== undefined) return text;
  return toLatin1(bytes).replace(PARTS, (part) => {
    try {
      return decodeURIComponent(escape(part));
    } catch {
      return "\ufffd";
    }
  });
}

/** The bytes of an `ArrayBuffer` or a view of one, without a copy; undefined for anything else. */
export function bytesOf(value) {
  // What is detached has none, and the engine would end the instance if it were given to the host.
  if ((ArrayBuffer.isView(value) || value instanceof ArrayBuffer) && value.byteLength === 0) return new Uint8Array();
  if (value instanceof Uint8Array) return value;
  if (value instanceof ArrayBuffer) return new Uint8Array(value);
  if (ArrayBuffer.isView(value)) return new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
  return undefined;
}

function isAscii(text) {
  return !/[^\x00-\x7f]/.test(text);
}

// The words of a script: any bytes, percent-encoded.

const SAFE = /[A-Za-z0-9\-._~]/;

/** The bytes of a word. */
export function decode(word) {
  if (word === undefined) return new Uint8Array();
  const bytes = [];
  for (let i = 0; i < word.length; i++) {
    if (word[i] === "%") bytes.push(parseInt(word.slice(++i, ++i + 1), 16));
    else bytes.push(word.charCodeAt(i));
  }
  return new Uint8Array(bytes);
}

/** The text of a word. */
export function text(word) {
  return new TextDecoder("utf-8", { ignoreBOM: true }).decode(decode(word));
}

/** Text or bytes as a word. */
export function encode(value) {
  const bytes = typeof value === "string" ? new TextEncoder().encode(value) : new Uint8Array(value);
  let word = "";
  for (const byte of bytes) {
    const character = String.fromCharCode(byte);
    word += SAFE.test(character) ? character : `%${byte.toString(16).toUpperCase().padStart(2, "0")}`;
  }
  return word;
}

/** A value of SQL from a word. */
export function value(word) {
  const rest = word.slice(2);
  switch (word[0]) {
    case "i":
      return BigInt(rest);
    case "r":
      return new DataView(Uint8Array.fromHex(rest).buffer).getFloat64(0);
    case "t":
      return text(rest);
    case "b":
      return decode(rest);
    default:
      return null;
  }
}

/** A value of SQL as a word. JavaScript cannot tell a small integer from a float with the same value. */
export function writeValue(value) {
  if (value === null) return "n";
  if (typeof value === "string") return `t:${encode(value)}`;
  if (typeof value === "bigint" || (Number.isSafeInteger(value) && !Object.is(value, -0))) return `i:${value}`;
  if (typeof value === "number") return `r:${hexOf(value)}`;
  return `b:${encode(value)}`;
}

function hexOf(float) {
  const view = new DataView(new ArrayBuffer(8));
  view.setFloat64(0, float);
  return new Uint8Array(view.buffer).toHex();
}

/** A message from a word. */
export function readMessage(word) {
  return word[0] === "b" ? decode(word.slice(2)) : text(word.slice(2));
}

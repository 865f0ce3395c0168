// The words of a script: any bytes, percent-encoded.

const SAFE = /[A-Za-z0-9\-._~]/;

/** The bytes of a word. */
export function decode(word: string): Uint8Array<ArrayBuffer> {
  const bytes: number[] = [];
  for (let i = 0; i < word.length; i++) {
    if (word[i] === "%") bytes.push(parseInt(word.slice(++i, ++i + 1), 16));
    else bytes.push(word.charCodeAt(i));
  }
  return new Uint8Array(bytes);
}

/** The text of a word. */
export function text(word: string): string {
  return new TextDecoder("utf-8", { ignoreBOM: true }).decode(decode(word));
}

/** Text or bytes as a word. */
export function encode(value: string | ArrayBuffer | Uint8Array): string {
  const bytes = typeof value === "string" ? new TextEncoder().encode(value) : new Uint8Array(value);
  let word = "";
  for (const byte of bytes) {
    const character = String.fromCharCode(byte);
    word += SAFE.test(character) ? character : `%${byte.toString(16).toUpperCase().padStart(2, "0")}`;
  }
  return word;
}

/** A value of SQL from a word. */
export function value(word: string): SqlStorageValue {
  const rest = word.slice(2);
  switch (word[0]) {
    case "i":
      return BigInt(rest);
    case "r":
      return new DataView(Uint8Array.fromHex(rest).buffer).getFloat64(0);
    case "t":
      return text(rest);
    case "b":
      return decode(rest).buffer;
    default:
      return null;
  }
}

/** A value of SQL as a word. JavaScript cannot tell a small integer from a float with the same value. */
export function writeValue(value: SqlStorageValue): string {
  if (value === null) return "n";
  switch (typeof value) {
    case "string":
      return `t:${encode(value)}`;
    case "bigint":
      return `i:${value}`;
    case "number":
      return Number.isSafeInteger(value) && !Object.is(value, -0) ? `i:${value}` : `r:${hexOf(value)}`;
    default:
      return `b:${encode(value)}`;
  }
}

function hexOf(float: number): string {
  const view = new DataView(new ArrayBuffer(8));
  view.setFloat64(0, float);
  return new Uint8Array(view.buffer).toHex();
}

/** A message from a word. */
export function readMessage(word: string): string | Uint8Array {
  return word.startsWith("b") ? decode(word.slice(2)) : text(word.slice(2));
}

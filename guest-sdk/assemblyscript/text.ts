// Text and bytes.

/** A text as UTF-8. */
export function encode(text: string): Uint8Array {
  return Uint8Array.wrap(String.UTF8.encode(text, false, String.UTF8.ErrorMode.REPLACE));
}

/** The text that these bytes of UTF-8 are. What is no UTF-8 becomes U+FFFD, as the Encoding Standard has it. */
export function decode(bytes: Uint8Array): string {
  const parts: string[] = [];
  let from = 0, at = 0;
  while (at < bytes.length) {
    const size = characterAt(bytes, at);
    if (size < 0) {
      parts.push(String.UTF8.decodeUnsafe(bytes.dataStart + from, at - from));
      from = at - size;
    }
    at += abs(size);
  }
  const rest = String.UTF8.decodeUnsafe(bytes.dataStart + from, at - from);
  if (!parts.length) return rest;
  parts.push(rest);
  return parts.join("\uFFFD");
}

/** How many bytes the character at this place has. If there is none: minus how many bytes begin one that breaks off. */
function characterAt(bytes: Uint8Array, at: i32): i32 {
  const first = unchecked(bytes[at]);
  if (first < 0x80) return 1;
  if (first < 0xc2 || first > 0xf4) return -1;
  const size = first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
  // The second byte excludes longer forms than needed, surrogates, and what is beyond U+10FFFF.
  let least: u8 = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
  let most: u8 = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
  for (let i = 1; i < size; i++) {
    if (at + i == bytes.length || unchecked(bytes[at + i]) < least || unchecked(bytes[at + i]) > most) return -i;
    least = 0x80;
    most = 0xbf;
  }
  return size;
}

function digit(c: i32): i32 {
  if (c >= 48 && c <= 57) return c - 48;
  c |= 0x20;
  return c >= 97 && c <= 102 ? c - 87 : -1;
}

/** The bytes of a percent-encoded text. What is no `%` with two hex digits stays as it is. */
export function decodePercent(text: string, plusIsSpace: bool = false): Uint8Array {
  const bytes = encode(text);
  let size = 0;
  for (let i = 0; i < bytes.length; i++) {
    let byte = bytes[i];
    if (byte == 37 && i + 2 < bytes.length && digit(bytes[i + 1]) >= 0 && digit(bytes[i + 2]) >= 0) {
      byte = <u8>(digit(bytes[i + 1]) << 4 | digit(bytes[i + 2]));
      i += 2;
    } else if (byte == 43 && plusIsSpace) {
      byte = 32;
    }
    bytes[size++] = byte;
  }
  return bytes.subarray(0, size);
}

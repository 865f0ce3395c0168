// Text and bytes.

/** A text as UTF-8. */
export function encode(text: string): Uint8Array {
  return Uint8Array.wrap(String.UTF8.encode(text, false, String.UTF8.ErrorMode.REPLACE));
}

/** The text that these bytes of UTF-8 are. */
export function decode(bytes: Uint8Array): string {
  return String.UTF8.decodeUnsafe(bytes.dataStart, bytes.length);
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

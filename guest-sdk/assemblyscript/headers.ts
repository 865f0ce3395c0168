// Headers of responses, as the host reads them. Not for classes.
import { Slice, lend, lendList, storeText } from "./abi";
import { Header } from "./http";

/** A name and a value. */
export const HEADER: usize = 16;

export function lendHeaders(headers: Header[]): Slice {
  const list = lendList(headers.length, HEADER);
  for (let i = 0; i < headers.length; i++) {
    const to = list.at + <usize>i * HEADER, value = headers[i].value;
    storeText(to, headers[i].name);
    const bytes = lend(value.length);
    for (let j = 0; j < value.length; j++) {
      const character = value.charCodeAt(j);
      if (character > 0xff) throw new RangeError(`the header ${headers[i].name} has a character beyond U+00FF`);
      store<u8>(bytes + j, character);
    }
    store<usize>(to, bytes, 8);
    store<usize>(to, value.length, 12);
  }
  return list;
}

// The border to the host: the canonical ABI's memory, texts and lists. Not for classes.
//
// What crosses the border, in either direction, is a block outside of the collector's reach: arguments that the host is to read, and what it
// allocates for its results. All blocks are in one list, which `done` frees. What must stay true: results are copied into objects of
// AssemblyScript before `done`, and between taking an object's address and calling the host nothing is allocated but blocks,
// because only `__new` lets the collector run.

/** Before each block: the address of the next one. Payloads stay aligned to 8 bytes, more than the canonical ABI ever wants. */
const HEADER: usize = 8;

let blocks: usize = 0;

/** So many bytes that live until `done`. */
export function lend(size: usize): usize {
  const block = heap.alloc(HEADER + size);
  store<usize>(block, blocks);
  blocks = block;
  return block + HEADER;
}

/** The call is over: what was lent and what the host has allocated is freed. */
export function done(): void {
  while (blocks) {
    const next = load<usize>(blocks);
    heap.free(blocks);
    blocks = next;
  }
}

/** What the host allocates its results with. */
export function cabi_realloc(old: usize, oldSize: usize, align: usize, size: usize): usize {
  const made = lend(size);
  memory.copy(made, old, min(oldSize, size));
  return made;
}

/** The adapter for WASI preview 1 keeps what it asks for. */
export function cabi_realloc_adapter(old: usize, oldSize: usize, align: usize, size: usize): usize {
  return old ? heap.realloc(old, size) : heap.alloc(size);
}

/** Where the host puts the result of a call. No result of the contract is larger; it is read before the next call. */
export const RESULT: usize = memory.data(64, 8);

/** Texts and lists as the canonical ABI has them: an address, and how many bytes or elements are there. */
@unmanaged
export class Slice {
  at: usize;
  size: usize;
}

/** Has a text, as UTF-8, at this address. Half a surrogate pair becomes U+FFFD. */
export function storeText(to: usize, text: string): void {
  const slice = changetype<Slice>(to);
  slice.size = String.UTF8.byteLength(text);
  slice.at = lend(slice.size);
  String.UTF8.encodeUnsafe(changetype<usize>(text), text.length, slice.at, false, String.UTF8.ErrorMode.REPLACE);
}

/** Has bytes at this address. They are not copied. */
export function storeBytes(to: usize, bytes: Uint8Array): void {
  const slice = changetype<Slice>(to);
  slice.at = bytes.dataStart;
  slice.size = bytes.length;
}

export function lendText(text: string): Slice {
  const slice = lend(offsetof<Slice>());
  storeText(slice, text);
  return changetype<Slice>(slice);
}

/** An `option<string>`'s text; its absence is the caller's to say. */
export function lendOptional(text: string | null): Slice {
  return lendText(text === null ? "" : text);
}

/** Room for a list. */
export function lendList(length: i32, elementSize: usize): Slice {
  const slice = changetype<Slice>(lend(offsetof<Slice>()));
  slice.at = lend(<usize>length * elementSize);
  slice.size = length;
  return slice;
}

export function lendTexts(texts: string[]): Slice {
  const list = lendList(texts.length, offsetof<Slice>());
  for (let i = 0; i < texts.length; i++) storeText(list.at + <usize>i * offsetof<Slice>(), texts[i]);
  return list;
}

/** The text that these bytes of UTF-8 are. */
export function textAt(at: usize, size: usize): string {
  return String.UTF8.decodeUnsafe(at, size);
}

/** A copy of these bytes. */
export function bytesAt(at: usize, size: usize): Uint8Array {
  const bytes = new Uint8Array(<i32>size);
  memory.copy(bytes.dataStart, at, size);
  return bytes;
}

/** The text whose slice is at this address. */
export function readText(from: usize): string {
  const slice = changetype<Slice>(from);
  return textAt(slice.at, slice.size);
}

/** A copy of the bytes whose slice is at this address. */
export function readBytes(from: usize): Uint8Array {
  const slice = changetype<Slice>(from);
  return bytesAt(slice.at, slice.size);
}

/** The list of texts whose slice is at this address. */
export function readTexts(from: usize): string[] {
  const slice = changetype<Slice>(from);
  const texts = new Array<string>(<i32>slice.size);
  for (let i = 0; i < texts.length; i++) texts[i] = readText(slice.at + <usize>i * offsetof<Slice>());
  return texts;
}

// Keys and values: wit/key-value.wit.
import { RESULT, Slice, done, lendList, lendOptional, lendText, lendTexts, readBytes, readText, storeBytes, storeText } from "./abi";
import { Open } from "./open";
import { Refusal, refuse } from "./refusal";
import { decode, encode } from "./text";

@external("holdfast:object/key-value@0.2.0", "get")
declare function hostGet(key: usize, keySize: usize, result: usize): void;
@external("holdfast:object/key-value@0.2.0", "get-many")
declare function hostGetMany(keys: usize, count: usize, result: usize): void;
@external("holdfast:object/key-value@0.2.0", "put")
declare function hostPut(key: usize, keySize: usize, value: usize, valueSize: usize, result: usize): void;
@external("holdfast:object/key-value@0.2.0", "put-many")
declare function hostPutMany(entries: usize, count: usize, result: usize): void;
@external("holdfast:object/key-value@0.2.0", "delete")
declare function hostDelete(key: usize, keySize: usize, result: usize): void;
@external("holdfast:object/key-value@0.2.0", "delete-many")
declare function hostDeleteMany(keys: usize, count: usize, result: usize): void;
@external("holdfast:object/key-value@0.2.0", "list")
declare function hostList(
  hasStart: bool, start: usize, startSize: usize, hasAfter: bool, after: usize, afterSize: usize,
  hasEnd: bool, end: usize, endSize: usize, hasPrefix: bool, prefix: usize, prefixSize: usize,
  reverse: bool, hasLimit: bool, limit: u32, result: usize,
): void;
@external("holdfast:object/key-value@0.2.0", "[method]entries.next")
declare function hostNext(entries: i32, max: u32, result: usize): void;
@external("holdfast:object/key-value@0.2.0", "[resource-drop]entries")
declare function hostDrop(entries: i32): void;

/** A text and bytes. */
const ENTRY: usize = 16;

/** Whether the last call was refused; if so, it is over. */
function isRefused(): bool {
  if (!load<u8>(RESULT)) return false;
  const number = load<u32>(RESULT, 8);
  let refusal: Refusal;
  switch (load<u8>(RESULT, 4)) {
    case 0: refusal = new Refusal("key-size", `a key has 1 to 2,048 bytes, not ${number}`); break;
    case 1: refusal = new Refusal("value-size", `key and value have at most 2,000,000 bytes, not ${number}`); break;
    case 2: refusal = new Refusal("too-many", `one call takes 128 keys, not ${number}`); break;
    case 3: refusal = new Refusal("bad-range", readText(RESULT + 8)); break;
    case 4: refusal = new Refusal("full", ""); break;
    case 5: refusal = new Refusal("closed", ""); break;
    default: refusal = new Refusal("other", readText(RESULT + 8));
  }
  done();
  refuse(refusal);
  return true;
}

/** One key with its value. */
export class Entry {
  constructor(readonly key: string, readonly value: Uint8Array) {}
}

function readEntries(from: usize): Entry[] {
  const slice = changetype<Slice>(from);
  const entries = new Array<Entry>(<i32>slice.size);
  for (let i = 0; i < entries.length; i++) {
    const at = slice.at + <usize>i * ENTRY;
    entries[i] = new Entry(readText(at), readBytes(at + 8));
  }
  return entries;
}

/** What a listing holds, and in which order. As it is made, it is everything. */
export class ListOptions {
  /** The first key wanted. */
  start: string | null = null;
  /** Only keys after this one; not together with `start`. */
  startAfter: string | null = null;
  /** Only keys before this one. */
  end: string | null = null;
  /** Only keys that begin with this. */
  prefix: string | null = null;
  /** The same keys in descending order. */
  reverse: bool = false;
  /** At most so many entries. */
  limit: u32 = u32.MAX_VALUE;
}

/** A listing that is being read: `for (let entry = listing.next(); entry; entry = listing.next()) …`. It ends with the turn. */
export class Listing extends Open {
  private batch: Entry[] = [];
  private read: i32 = 0;

  /** Not for classes: `kv.list` makes them. */
  constructor(handle: i32) {
    super(handle);
  }

  /** The next entry; null at the end. */
  next(): Entry | null {
    if (this.read == this.batch.length) {
      if (!this.handle) return null;
      hostNext(this.handle, 128, RESULT);
      this.batch = isRefused() ? [] : readEntries(RESULT + 4);
      this.read = 0;
      done();
      if (!this.batch.length) {
        this.close();
        return null;
      }
    }
    return this.batch[this.read++];
  }

  close(): void {
    super.close();
    this.batch = [];
    this.read = 0;
  }

  protected drop(handle: i32): void {
    hostDrop(handle);
  }
}

/** The object's own map from texts to bytes, ordered by the keys' UTF-8. A key has 1 to 2,048 bytes, key and value at most 2,000,000. */
export namespace kv {
  /** The value of a key; null if the key does not exist. */
  export function get(key: string): Uint8Array | null {
    const name = lendText(key);
    hostGet(name.at, name.size, RESULT);
    if (isRefused()) return null;
    const value = load<bool>(RESULT, 4) ? readBytes(RESULT + 8) : null;
    done();
    return value;
  }

  /** The value as text. */
  export function getText(key: string): string | null {
    const value = get(key);
    return value ? decode(value) : null;
  }

  /** The value as an integer, which is stored as decimal text. */
  export function getInt(key: string, missing: i64 = 0): i64 {
    const value = getText(key);
    return value !== null ? I64.parseInt(value) : missing;
  }

  /** Sets the value of a key. */
  export function put(key: string, value: Uint8Array): void {
    const name = lendText(key);
    hostPut(name.at, name.size, value.dataStart, value.length, RESULT);
    if (!isRefused()) done();
  }

  export function putText(key: string, value: string): void {
    put(key, encode(value));
  }

  export function putInt(key: string, value: i64): void {
    putText(key, value.toString());
  }

  /** Removes a key. True if it existed. */
  export function remove(key: string): bool {
    const name = lendText(key);
    hostDelete(name.at, name.size, RESULT);
    if (isRefused()) return false;
    done();
    return load<bool>(RESULT, 4);
  }

  /** The entries of up to 128 keys, sorted by key. Keys that do not exist are left out. */
  export function getMany(keys: string[]): Entry[] {
    const names = lendTexts(keys);
    hostGetMany(names.at, names.size, RESULT);
    if (isRefused()) return [];
    const entries = readEntries(RESULT + 4);
    done();
    return entries;
  }

  /** Sets up to 128 entries, all or none. */
  export function putMany(entries: Entry[]): void {
    const list = lendList(entries.length, ENTRY);
    for (let i = 0; i < entries.length; i++) {
      storeText(list.at + <usize>i * ENTRY, entries[i].key);
      storeBytes(list.at + <usize>i * ENTRY + 8, entries[i].value);
    }
    hostPutMany(list.at, list.size, RESULT);
    if (!isRefused()) done();
  }

  /** Removes up to 128 keys, all or none. Answers how many of them existed. */
  export function removeMany(keys: string[]): u32 {
    const names = lendTexts(keys);
    hostDeleteMany(names.at, names.size, RESULT);
    if (isRefused()) return 0;
    done();
    return load<u32>(RESULT, 4);
  }

  /** Opens a listing, in the order of keys. */
  export function list(options: ListOptions = new ListOptions()): Listing {
    const start = lendOptional(options.start), after = lendOptional(options.startAfter);
    const end = lendOptional(options.end), prefix = lendOptional(options.prefix);
    hostList(
      options.start !== null, start.at, start.size, options.startAfter !== null, after.at, after.size,
      options.end !== null, end.at, end.size, options.prefix !== null, prefix.at, prefix.size,
      options.reverse, options.limit != u32.MAX_VALUE, options.limit, RESULT,
    );
    if (isRefused()) return new Listing(0);
    done();
    return new Listing(load<i32>(RESULT, 4));
  }
}

// `ctx.storage.kv`: keys with structured values, at once. `storage.js` has the same with promises and more than one key
// at a time: the functions here check arguments and return what is to be done with storage.

import keyValue from "holdfast:object/key-value@0.2.0";

import { mistyped, text } from "./arguments.js";
import { hostOf, refusal } from "./errors.js";
import { count } from "./memory.js";
import { mustBeInside } from "./sections.js";
import { deserialize, serialize } from "./serialize.js";
import { hold, release } from "./turn.js";

const host = hostOf("storage-error");

/** Rows that one call of the host brings. It stops at about 1 MiB by itself. */
const BATCH = 1000;

export class SyncKvStorage {
  get(key) {
    return reading(keyOf(key, "get", "SyncKvStorage"))();
  }

  put(...entry) {
    const key = keyOf(entry[0], "put", "SyncKvStorage");
    if (entry.length < 2) throw mistyped("put", "SyncKvStorage", 2, "Value");
    mustBeInside("kv.put()");
    host(keyValue.put, key, serialize(entry[1]));
  }

  delete(key) {
    const checked = keyOf(key, "delete", "SyncKvStorage");
    mustBeInside("kv.delete()");
    return host(keyValue.delete, checked);
  }

  /** The entries in the order of their keys, read while they are iterated. */
  list(options) {
    return entries(rangeOf(options, "SyncKvStorage"));
  }
}

export function reading(keys) {
  if (Array.isArray(keys)) {
    const checked = keys.map(text);
    return () => new Map(host(keyValue.getMany, checked).map(({ key, value }) => [key, valueOf(value)]));
  }
  const key = keyOf(keys, "get", "DurableObjectStorage", "string or Array");
  return () => {
    const bytes = host(keyValue.get, key);
    return bytes === null ? undefined : valueOf(bytes);
  };
}

export function putting(key, value) {
  if (typeof key === "object" && key !== null) {
    const given = Object.entries(key).filter(([, item]) => item !== undefined);
    const checked = given.map(([name, item]) => ({ key: text(name), value: serialize(item) }));
    return () => void host(keyValue.putMany, checked);
  }
  const checked = keyOf(key, "put", "DurableObjectStorage", "string or object");
  if (value === undefined) throw new TypeError("put() called with undefined value.");
  const bytes = serialize(value);
  return () => void host(keyValue.put, checked, bytes);
}

export function deleting(keys) {
  if (Array.isArray(keys)) {
    const checked = keys.map(text);
    return () => host(keyValue.deleteMany, checked);
  }
  const key = keyOf(keys, "delete", "DurableObjectStorage", "string or Array");
  return () => host(keyValue.delete, key);
}

export function listing(options) {
  const range = rangeOf(options, "DurableObjectStorage");
  return () => new Map(entries(range));
}

function* entries(range) {
  const listing = hold(host(keyValue.list, range));
  try {
    for (;;) {
      const batch = host(() => listing.next(Math.min(BATCH, range.limit ?? BATCH)));
      if (batch.length === 0) return;
      for (const { key, value } of batch) yield [key, valueOf(value)];
    }
  } finally {
    release(listing);
  }
}

function valueOf(bytes) {
  count(bytes.length);
  return deserialize(bytes);
}

function rangeOf(options, on) {
  if (options !== undefined && options !== null && typeof options !== "object")
    throw mistyped("list", on, 1, "ListOptions");
  const { start, startAfter, end, prefix, reverse = false, limit } = options ?? {};
  const isGiven = (value) => value !== undefined && value !== null;
  if (isGiven(start) && isGiven(startAfter))
    throw refusal("storage-error", "bad-range", "list() cannot be called with both start and startAfter values.");
  const optional = (value) => (isGiven(value) ? text(value) : null);
  return {
    start: optional(start),
    startAfter: optional(startAfter),
    end: optional(end),
    prefix: optional(prefix),
    reverse: Boolean(reverse),
    limit: limit === undefined ? null : limitOf(limit),
  };
}

function limitOf(value) {
  const limit = Math.trunc(Number(value));
  if (!(limit > 0)) throw refusal("storage-error", "bad-range", "List limit must be positive.");
  return Math.min(limit, 2 ** 31 - 1);
}

function keyOf(value, method, on, type = "string") {
  if (value === undefined) throw mistyped(method, on, 1, type);
  return text(value);
}

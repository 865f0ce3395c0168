// `ctx.storage.kv`: keys with structured values, at once. `storage.js` has the same with promises and more than one key at a time.

import keyValue from "holdfast:object/key-value@0.2.0";

import { hostOf } from "./errors.js";
import { deserialize, serialize } from "./serialize.js";
import { hold, release } from "./turn.js";

const host = hostOf("storage-error");

/** Rows that one call of the host brings. It stops at about 1 MiB by itself. */
const BATCH = 1000;

export class SyncKvStorage {
  get(key) {
    const bytes = host(keyValue.get, checkKey(key));
    return bytes === null ? undefined : deserialize(bytes);
  }

  put(key, value) {
    host(keyValue.put, checkKey(key), checkValue(value));
  }

  delete(key) {
    return host(keyValue.delete, checkKey(key));
  }

  /** The entries in the order of their keys, read while they are iterated. */
  list(options = {}) {
    return entries(checkRange(options));
  }
}

export function getMany(keys) {
  return new Map(host(keyValue.getMany, keys.map(checkKey)).map(({ key, value }) => [key, deserialize(value)]));
}

export function putMany(object) {
  host(
    keyValue.putMany,
    Object.entries(object).map(([key, value]) => ({ key: checkKey(key), value: checkValue(value) })),
  );
}

export function deleteMany(keys) {
  return host(keyValue.deleteMany, keys.map(checkKey));
}

function* entries(options) {
  const listing = hold(host(keyValue.list, options));
  try {
    for (;;) {
      const batch = host(() => listing.next(Math.min(BATCH, options.limit ?? BATCH)));
      if (batch.length === 0) return;
      for (const { key, value } of batch) yield [key, deserialize(value)];
    }
  } finally {
    release(listing);
  }
}

function checkRange({ start, startAfter, end, prefix, reverse = false, limit }) {
  const text = (value) => (value === undefined || value === null ? null : String(value).toWellFormed());
  return {
    start: text(start),
    startAfter: text(startAfter),
    end: text(end),
    prefix: text(prefix),
    reverse: Boolean(reverse),
    // The host refuses 0, and so all that is no limit.
    limit: limit === undefined || limit === null ? null : Math.min(Math.max(Math.floor(limit) || 0, 0), 2 ** 31 - 1),
  };
}

function checkKey(key) {
  if (key === undefined || key === null) throw new TypeError("a key is a string");
  return String(key).toWellFormed();
}

function checkValue(value) {
  if (value === undefined) throw new TypeError("put() called with undefined value.");
  return serialize(value);
}

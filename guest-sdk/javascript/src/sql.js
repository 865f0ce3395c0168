// `ctx.storage.sql`. Owns: how JavaScript's values become SQLite's and back. Results come packed (`wit/packed-sql.wit`), because
// a list of bytes crosses the boundary many times faster than a list of values.
//
// Integers: a number without a fraction, of at most 2^53 − 1, is stored as an INTEGER, any other number as a REAL, and a BigInt as
// an INTEGER, exactly. What is read is a number if that is exact and a BigInt if it is not.

import packedSql from "holdfast:object/packed-sql@0.1.0";
import storage from "holdfast:object/storage@0.1.0";

import { bytesOf, toTextLossy } from "./bytes.js";
import { host } from "./errors.js";
import { hold, release } from "./turn.js";

const BATCH = 1000;

export class SqlStorage {
  exec(query, ...bindings) {
    const exact = bindings.some(isBig);
    const text = String(query).toWellFormed();
    return new SqlStorageCursor(host(packedSql.exec, exact ? castingBigInts(text, bindings) : text, bindings.map(toSql)));
  }

  /** Bytes that the object's storage takes. */
  get databaseSize() {
    return host(storage.size);
  }
}

export class SqlStorageCursor {
  #columns = [];
  #batch;
  #more;
  #read = 0;
  #written;

  constructor({ changes, result, more }) {
    this.#written = changes;
    this.#more = more && hold(more);
    this.#batch = new Rows(result);
    if (result !== null) this.#columns = this.#batch.header();
  }

  get columnNames() {
    return [...this.#columns];
  }

  /** Rows that were read from the cursor so far. */
  get rowsRead() {
    return this.#read;
  }

  /** Rows that the statements inserted, updated or deleted. */
  get rowsWritten() {
    return this.#written;
  }

  next() {
    const values = this.#next();
    return values === undefined ? { done: true, value: undefined } : { done: false, value: this.#object(values) };
  }

  toArray() {
    return [...this];
  }

  one() {
    const [first, second] = [this.next(), this.next()];
    if (first.done) throw new Error("Expected exactly one result from SQL query, but got no results.");
    if (!second.done) throw new Error("Expected exactly one result from SQL query, but got multiple results.");
    return first.value;
  }

  raw() {
    const next = () => {
      const value = this.#next();
      return { done: value === undefined, value };
    };
    return Iterator.from({ next });
  }

  [Symbol.iterator]() {
    return Iterator.from({ next: () => this.next() });
  }

  #object(values) {
    const row = {};
    for (let i = 0; i < values.length; i++) row[this.#columns[i]] = values[i];
    return row;
  }

  #next() {
    if (this.#batch.done && this.#more) {
      this.#batch = new Rows(host(packedSql.next, this.#more, BATCH));
      if (this.#batch.done) this.#more = void release(this.#more);
    }
    if (this.#batch.done) return undefined;
    this.#read += 1;
    return this.#batch.row(this.#columns.length);
  }
}

/** A batch of packed rows, read from its beginning to its end. */
class Rows {
  #bytes;
  #view;
  #at = 0;

  constructor(bytes) {
    this.#bytes = bytes ?? new Uint8Array();
    this.#view = new DataView(this.#bytes.buffer, this.#bytes.byteOffset, this.#bytes.byteLength);
  }

  get done() {
    return this.#at === this.#bytes.length;
  }

  header() {
    const columns = new Array(this.#length());
    for (let i = 0; i < columns.length; i++) columns[i] = this.#value();
    return columns;
  }

  row(columns) {
    const values = new Array(columns);
    for (let i = 0; i < columns; i++) values[i] = this.#value();
    return values;
  }

  #value() {
    switch (this.#bytes[this.#at++]) {
      case 0:
        return null;
      case 1:
        return this.#integer();
      case 2:
        this.#at += 8;
        return this.#view.getFloat64(this.#at - 8, true);
      case 3:
        return toTextLossy(this.#take());
      default:
        return this.#take().slice().buffer;
    }
  }

  #integer() {
    this.#at += 8;
    const high = this.#view.getInt32(this.#at - 4, true);
    if (high >= -0x200000 && high < 0x200000) return high * 2 ** 32 + this.#view.getUint32(this.#at - 8, true);
    return this.#view.getBigInt64(this.#at - 8, true);
  }

  #length() {
    this.#at += 4;
    return this.#view.getUint32(this.#at - 4, true);
  }

  #take() {
    const length = this.#length();
    this.#at += length;
    return this.#bytes.subarray(this.#at - length, this.#at);
  }
}

function toSql(value) {
  switch (typeof value) {
    case "string":
      return { tag: "text", val: value.toWellFormed() };
    case "number":
      return Number.isSafeInteger(value) && !Object.is(value, -0) ? { tag: "integer", val: value } : { tag: "real", val: value };
    case "bigint":
      if (BigInt.asIntN(64, value) !== value) throw new RangeError(`${value} does not fit into 64 bits`);
      return isBig(value) ? { tag: "text", val: String(value) } : { tag: "integer", val: Number(value) };
    case "undefined":
      return { tag: "null" };
    case "boolean":
      return { tag: "integer", val: Number(value) };
  }
  if (value === null) return { tag: "null" };
  const bytes = bytesOf(value);
  if (!bytes) throw new TypeError("a binding is a string, a number, a BigInt, a boolean, null or bytes");
  return { tag: "blob", val: bytes };
}

const isBig = (value) => typeof value === "bigint" && !Number.isSafeInteger(Number(value));

/** The engine hands integers to the host as numbers. Those that are none go as text, and the query casts them. */
function castingBigInts(query, bindings) {
  let last = 0;
  return query.replace(/'(?:[^']|'')*'|"(?:[^"]|"")*"|`(?:[^`]|``)*`|\[[^\]]*\]|--[^\n]*|\/\*[^]*?\*\/|\?([0-9]*)/g, (part, number) => {
    if (number === undefined) return part;
    last = number === "" ? last + 1 : Number(number);
    return isBig(bindings[last - 1]) ? `CAST(?${last} AS INTEGER)` : `?${last}`;
  });
}

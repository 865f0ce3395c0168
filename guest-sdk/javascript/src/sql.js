// `ctx.storage.sql`. Owns: how JavaScript's values become SQLite's and back. Results come packed
// (`wit/packed-sql.wit`), because a list of bytes crosses the boundary many times faster than a list of values.
//
// A number is bound as a REAL, as in Durable Objects and in Node.js; a column of type INTEGER turns it into an integer
// if it is one. A BigInt is bound as an INTEGER, exactly. An INTEGER that is read is a number if that is exact, and
// else a BigInt.

import packedSql from "holdfast:object/packed-sql@0.2.0";
import storage from "holdfast:object/storage@0.2.0";

import { mistyped, text } from "./arguments.js";
import { bytesOf, toTextLossy } from "./bytes.js";
import { ClassError, hostOf } from "./errors.js";
import { hold, keepRows, release } from "./held.js";
import { count } from "./memory.js";
import { mustBeInside } from "./sections.js";

const host = hostOf("sql-error");
const storageHost = hostOf("storage-error");

const BATCH = 1000;

export class SqlStorage {
  exec(query, ...bindings) {
    if (query === undefined) throw mistyped("exec", "SqlStorage", 1, "String");
    const exact = bindings.some(isBig);
    const statements = exact ? castingBigInts(text(query), bindings) : text(query);
    const values = bindings.map(toSql);
    mustBeInside("sql.exec()");
    return new SqlStorageCursor(host(packedSql.exec, statements, values));
  }

  /** Bytes that the object's storage takes. */
  get databaseSize() {
    return storageHost(storage.size);
  }
}

export class SqlStorageCursor {
  #columns = [];
  #batch;
  #more;
  /** Batches that were read ahead, and why there are no more of them. */
  #ahead;
  #refusal;
  #read = 0;
  #written;

  constructor({ changes, packed, more }) {
    this.#written = changes;
    this.#more = more && hold(more, this);
    this.#batch = new Rows(packed);
    if (packed !== null) this.#columns = this.#batch.header();
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

  /** What the host has still to give ends with the turn, and the code that reads it goes on after it. */
  [keepRows](room) {
    this.#ahead = [];
    try {
      for (;;) {
        const packed = host(packedSql.next, this.#more, BATCH);
        if (packed.length === 0) break;
        room -= packed.length;
        if (room < 0)
          throw new ClassError(
            "too-many-rows",
            "more than 8 MiB of rows were left in cursors when the turn ended: read them before awaiting anything but storage",
          );
        this.#ahead.push(new Rows(packed));
      }
    } catch (error) {
      this.#refusal = error;
    }
    this.#more = undefined;
    return Math.max(room, 0);
  }

  #object(values) {
    const row = {};
    for (let i = 0; i < values.length; i++) row[this.#columns[i]] = values[i];
    return row;
  }

  #next() {
    if (this.#batch.done && this.#ahead) {
      if (this.#ahead.length === 0 && this.#refusal) throw this.#refusal;
      this.#batch = this.#ahead.shift() ?? this.#batch;
    } else if (this.#batch.done && this.#more) {
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
    this.#bytes = bytesOf(bytes) ?? new Uint8Array();
    count(this.#bytes.length);
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
  if (value === null || value === undefined) return { tag: "null" };
  if (typeof value === "number") return { tag: "real", val: value };
  if (typeof value === "bigint" && !isBig(value)) return { tag: "integer", val: Number(value) };
  const bytes = bytesOf(value);
  return bytes ? { tag: "blob", val: bytes } : { tag: "text", val: text(value) };
}

const isBig = (value) => typeof value === "bigint" && !Number.isSafeInteger(Number(value));

/**
 * What SQLite's tokenizer skips, takes for a name or a number, and takes for a parameter: `?`, `?1`, `:name`, `@name`,
 * `$name::more(x)`.
 */
const TOKENS = new RegExp(
  [
    "'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|`(?:[^`]|``)*`|\\[[^\\]]*\\]|--[^\\n]*|/\\*[^]*?(?:\\*/|$)",
    "[\\w\\x80-\\uffff][\\w$\\x80-\\uffff]*",
    "\\?(?<number>[0-9]*)",
    "(?<name>[:@#$][\\w$\\x80-\\uffff]+(?:::[\\w$\\x80-\\uffff]*)*(?:\\([^\\s)]*\\))?)",
  ].join("|"),
  "g",
);

/**
 * The engine hands integers to the host as numbers. Those that are none go as text, and the query casts them.
 * Parameters are counted as SQLite does: one without a number has the one after the highest so far, and a name that was
 * there before has the same again.
 */
function castingBigInts(query, bindings) {
  const misfit = bindings.find((value) => typeof value === "bigint" && BigInt.asIntN(64, value) !== value);
  if (misfit !== undefined) throw new RangeError(`${misfit} does not fit into 64 bits`);
  const names = new Map();
  let highest = 0;
  return query.replace(TOKENS, (part, ...rest) => {
    const { number, name } = rest.at(-1);
    if (number === undefined && name === undefined) return part;
    const index = name !== undefined ? (names.get(name) ?? highest + 1) : number === "" ? highest + 1 : Number(number);
    if (name !== undefined) names.set(name, index);
    highest = Math.max(highest, index);
    if (isBig(bindings[index - 1])) return `CAST(?${index} AS INTEGER)`;
    return name ?? `?${index}`;
  });
}

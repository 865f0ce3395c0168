// Structured values as bytes: V8's serialisation format, version 15, as `node:v8` and workerd write and read it. Owns: which
// values can be stored, and their form. `v8.deserialize` of Node.js reads what is stored here and the other way round.
//
// Two liberties that the format gives: text beyond Latin-1 is written as UTF-8 (tag `S`) where V8 writes UTF-16, and both are read;
// integers beyond 31 bits are doubles.

import { bytesOf, fromLatin1, fromText, toLatin1, toTextLossy, writeShort } from "./bytes.js";

const VERSION = 15;

const VIEWS = {
  b: Int8Array,
  B: Uint8Array,
  C: Uint8ClampedArray,
  w: Int16Array,
  W: Uint16Array,
  d: Int32Array,
  D: Uint32Array,
  h: globalThis.Float16Array,
  f: Float32Array,
  F: Float64Array,
  q: BigInt64Array,
  Q: BigUint64Array,
  "?": DataView,
};
const VIEW_TAGS = new Map(Object.entries(VIEWS).map(([tag, view]) => [view, tag]));
const ERRORS = { E: EvalError, R: RangeError, F: ReferenceError, S: SyntaxError, T: TypeError, U: URIError };
const ERROR_TAGS = new Map(Object.entries(ERRORS).map(([tag, error]) => [error.name, tag]));
const REGEXP_FLAGS = "gimyus_dv"; // bit 6 is an experiment of V8's own
const NON_LATIN1 = /[^\x00-\xff]/;

/** Marks the prototypes of objects that stand for something of the host, which cannot be stored. */
export const hostObject = Symbol("holdfast.hostObject");

/** The bytes of a value. Throws a `DataCloneError` for functions, symbols and objects of the host. */
export function serialize(value) {
  const writer = new Writer();
  writer.bytes([0xff, VERSION]);
  writer.value(value);
  return writer.take();
}

/** The value of bytes that `serialize`, or V8, has written. */
export function deserialize(bytes) {
  return new Reader(bytes).message();
}

class Writer {
  #buffer = new Uint8Array(64);
  #length = 0;
  #ids = new Map();

  take() {
    return this.#buffer.slice(0, this.#length);
  }

  value(value) {
    switch (typeof value) {
      case "undefined":
        return this.tag("_");
      case "boolean":
        return this.tag(value ? "T" : "F");
      case "number":
        return this.number(value);
      case "bigint":
        return this.tag("Z").bigint(value);
      case "string":
        return this.string(value);
      case "object":
        return value === null ? this.tag("0") : this.object(value);
      default:
        throw notCloneable(value);
    }
  }

  object(object) {
    const id = this.#ids.get(object);
    if (id !== undefined) return this.tag("^").varint(id);
    // The format has a view follow its buffer, and numbers it after it.
    if (ArrayBuffer.isView(object)) this.object(object.buffer);
    this.#ids.set(object, this.#ids.size);
    if (Array.isArray(object)) return this.array(object);
    if (ArrayBuffer.isView(object)) return this.view(object);
    if (object instanceof Date) return this.tag("D").double(object.getTime());
    if (object instanceof Map) return this.items(";", ":", [...object].flat(), object.size * 2);
    if (object instanceof Set) return this.items("'", ",", [...object], object.size);
    if (object instanceof ArrayBuffer) return this.tag("B").varint(object.byteLength).bytes(new Uint8Array(object));
    if (object instanceof RegExp) return this.tag("R").string(object.source).varint(regexpBits(object));
    if (object instanceof Error) return this.error(object);
    if (object instanceof Boolean) return this.tag(object.valueOf() ? "y" : "x");
    if (object instanceof Number) return this.tag("n").double(object.valueOf());
    if (object instanceof BigInt) return this.tag("z").bigint(object.valueOf());
    if (object instanceof String) return this.tag("s").string(object.valueOf());
    if (Object.prototype.toString.call(object) !== "[object Object]" || object[hostObject]) throw notCloneable(object);
    return this.tag("o").properties("{", Object.keys(object), object);
  }

  array(array) {
    const keys = Object.keys(array);
    const { length } = array;
    const dense = keys.length >= length && (length === 0 || keys[length - 1] === String(length - 1));
    if (!dense) return this.tag("a").varint(length).properties("@", keys, array).varint(length);
    this.tag("A").varint(length);
    for (let i = 0; i < length; i++) this.value(array[i]);
    return this.properties("$", keys.slice(length), array).varint(length);
  }

  view(view) {
    const tag = VIEW_TAGS.get(view.constructor);
    if (tag === undefined) throw notCloneable(view);
    return this.tag("V").tag(tag).varint(view.byteOffset).varint(view.byteLength).varint(0);
  }

  items(begin, end, items, count) {
    this.tag(begin);
    for (const item of items) this.value(item);
    return this.tag(end).varint(count);
  }

  properties(end, keys, object) {
    for (const key of keys) {
      const index = Number(key);
      if (Number.isInteger(index) && index >= 0 && String(index) === key) this.number(index);
      else this.string(key);
      this.value(object[key]);
    }
    return this.tag(end).varint(keys.length);
  }

  error(error) {
    this.tag("r");
    const kind = ERROR_TAGS.get(error.name);
    if (kind !== undefined) this.tag(kind);
    if (Object.hasOwn(error, "message")) this.tag("m").string(String(error.message));
    if (Object.hasOwn(error, "cause")) this.tag("c").value(error.cause);
    if (typeof error.stack === "string") this.tag("s").string(error.stack);
    return this.tag(".");
  }

  number(value) {
    if (!Number.isInteger(value) || Math.abs(value) >= 2 ** 30 || Object.is(value, -0))
      return this.tag("N").double(value);
    return this.tag("I").varint(value < 0 ? -2 * value - 1 : 2 * value);
  }

  string(text) {
    this.#reserve(text.length + 2);
    if (writeShort(text, 0x100, this.#buffer, this.#length + 2)) {
      this.#buffer[this.#length] = 0x22;
      this.#buffer[this.#length + 1] = text.length;
      this.#length += 2 + text.length;
      return this;
    }
    const oneByte = !NON_LATIN1.test(text);
    const bytes = oneByte ? fromLatin1(text) : fromText(text);
    return this.tag(oneByte ? '"' : "S")
      .varint(bytes.length)
      .bytes(bytes);
  }

  bigint(value) {
    let hex = (value < 0n ? -value : value).toString(16);
    if (hex === "0") return this.varint(0);
    hex = hex.padStart(Math.ceil(hex.length / 16) * 16, "0");
    return this.varint(hex.length | (value < 0n ? 1 : 0)).bytes(Uint8Array.fromHex(hex).reverse());
  }

  double(value) {
    this.#reserve(8);
    new DataView(this.#buffer.buffer).setFloat64(this.#length, value, true);
    this.#length += 8;
    return this;
  }

  varint(value) {
    this.#reserve(5);
    for (; value > 0x7f; value = Math.floor(value / 128)) this.#buffer[this.#length++] = (value & 0x7f) | 0x80;
    this.#buffer[this.#length++] = value;
    return this;
  }

  tag(tag) {
    this.#reserve(1);
    this.#buffer[this.#length++] = tag.charCodeAt(0);
    return this;
  }

  bytes(bytes) {
    this.#reserve(bytes.length);
    this.#buffer.set(bytes, this.#length);
    this.#length += bytes.length;
    return this;
  }

  #reserve(more) {
    const needed = this.#length + more;
    if (needed <= this.#buffer.length) return;
    const larger = new Uint8Array(Math.max(needed, 2 * this.#buffer.length));
    larger.set(this.#buffer);
    this.#buffer = larger;
  }
}

/** How a value is read, by the byte that it begins with. */
const READERS = [];

class Reader {
  #bytes;
  #view;
  #at = 0;
  #version;
  #objects = [];

  constructor(source) {
    const bytes = bytesOf(source);
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  message() {
    if (this.#bytes[0] !== 0xff) throw corrupt("it has no header");
    this.#at = 1;
    this.#version = this.varint();
    if (this.#version < 13 || this.#version > VERSION) throw corrupt(`its version is ${this.#version}`);
    return this.value();
  }

  value() {
    let byte;
    // Zeros pad what follows.
    while ((byte = this.#view.getUint8(this.#at++)) === 0);
    const read = READERS[byte];
    if (read === undefined) throw corrupt(`the tag ${JSON.stringify(String.fromCharCode(byte))} is not known`);
    return read(this);
  }

  static {
    const readers = {
      _: () => undefined,
      0: () => null,
      T: () => true,
      F: () => false,
      I: (reader) => reader.int(),
      N: (reader) => reader.double(),
      Z: (reader) => reader.bigint(),
      '"': (reader) => toLatin1(reader.take(reader.varint())),
      S: (reader) => toTextLossy(reader.take(reader.varint())),
      c: (reader) => reader.wideText(),
      "^": (reader) => reader.#viewOf(reader.#object(reader.varint())),
      B: (reader) => reader.#viewOf(reader.#add(reader.take(reader.varint()).slice().buffer)),
      o: (reader) => reader.properties("{", reader.#add({})),
      A: (reader) => reader.dense(reader.#add(new Array(reader.varint()))),
      a: (reader) => reader.sparse(reader.#add(new Array(reader.varint()))),
      ";": (reader) => reader.map(reader.#add(new Map())),
      "'": (reader) => reader.set(reader.#add(new Set())),
      D: (reader) => reader.#add(new Date(reader.double())),
      R: (reader) => reader.regexp(),
      r: (reader) => reader.error(),
      y: (reader) => reader.#add(Object(true)),
      x: (reader) => reader.#add(Object(false)),
      n: (reader) => reader.#add(Object(reader.double())),
      z: (reader) => reader.#add(Object(reader.bigint())),
      s: (reader) => reader.#add(Object(reader.value())),
    };
    for (const [tag, read] of Object.entries(readers)) READERS[tag.charCodeAt(0)] = read;
  }

  map(map) {
    while (!this.ends(":")) map.set(this.value(), this.value());
    return map;
  }

  set(set) {
    while (!this.ends(",")) set.add(this.value());
    return set;
  }

  dense(array) {
    for (let i = 0; i < array.length; i++) {
      // A hole, as V8 writes it in arrays that have few.
      if (this.#bytes[this.#at] === 0x2d) this.#at += 1;
      else array[i] = this.value();
    }
    this.properties("$", array);
    this.varint();
    return array;
  }

  sparse(array) {
    this.properties("@", array);
    this.varint();
    return array;
  }

  properties(end, object) {
    while (!this.ends(end)) {
      const key = this.value();
      const value = this.value();
      if (key !== "__proto__") object[key] = value;
      else Object.defineProperty(object, key, { value, writable: true, enumerable: true, configurable: true });
    }
    return object;
  }

  /** Whether a list ends here, which it does with this tag and its length. */
  ends(tag) {
    if (this.#bytes[this.#at] !== tag.charCodeAt(0)) return false;
    this.#at += 1;
    this.varint();
    return true;
  }

  #viewOf(buffer) {
    if (!(buffer instanceof ArrayBuffer) || this.#bytes[this.#at] !== 0x56) return buffer;
    this.#at += 1;
    const View = VIEWS[this.tag()] ?? DataView;
    const [offset, length] = [this.varint(), this.varint()];
    if (this.#version >= 14) this.varint();
    return this.#add(new View(buffer, offset, length / (View.BYTES_PER_ELEMENT ?? 1)));
  }

  regexp() {
    const source = this.value();
    const bits = this.varint();
    return this.#add(new RegExp(source, [...REGEXP_FLAGS].filter((_flag, bit) => bits & (1 << bit)).join("")));
  }

  error() {
    const at = this.#objects.push(undefined) - 1;
    const own = {};
    let kind = Error;
    for (let tag = this.tag(); tag !== "."; tag = this.tag()) {
      if (tag === "m") own.message = this.value();
      else if (tag === "c") own.cause = this.value();
      else if (tag === "s") own.stack = this.value();
      else kind = ERRORS[tag] ?? Error;
    }
    const error = (this.#objects[at] = new kind());
    for (const [key, value] of Object.entries(own)) {
      Object.defineProperty(error, key, { value, writable: true, configurable: true });
    }
    return error;
  }

  wideText() {
    const units = new Uint16Array(this.take(this.varint()).slice().buffer);
    let text = "";
    for (let i = 0; i < units.length; i += 4096) text += String.fromCharCode(...units.subarray(i, i + 4096));
    return text;
  }

  bigint() {
    const bits = this.varint();
    const hex = this.take(bits >>> 1)
      .slice()
      .reverse()
      .toHex();
    const value = BigInt(hex === "" ? 0 : `0x${hex}`);
    return bits & 1 ? -value : value;
  }

  int() {
    const value = this.varint();
    return value % 2 === 0 ? value / 2 : -(value + 1) / 2;
  }

  double() {
    this.#at += 8;
    return this.#view.getFloat64(this.#at - 8, true);
  }

  varint() {
    let value = 0;
    for (let scale = 1; ; scale *= 128) {
      const byte = this.#view.getUint8(this.#at++);
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value;
    }
  }

  tag() {
    return String.fromCharCode(this.#view.getUint8(this.#at++));
  }

  take(length) {
    this.#at += length;
    if (this.#at > this.#bytes.length) throw corrupt("it ends too early");
    return this.#bytes.subarray(this.#at - length, this.#at);
  }

  #add(object) {
    this.#objects.push(object);
    return object;
  }

  #object(id) {
    if (id >= this.#objects.length) throw corrupt("it refers to what is not there");
    return this.#objects[id];
  }
}

function regexpBits(regexp) {
  return [...regexp.flags].reduce((bits, flag) => bits | (1 << REGEXP_FLAGS.indexOf(flag)), 0);
}

function notCloneable(value) {
  const shown =
    typeof value === "symbol"
      ? value.toString()
      : typeof value === "function"
        ? `function ${value.name}`
        : `#<${value.constructor?.name}>`;
  return new DOMException(`${shown} could not be cloned.`, "DataCloneError");
}

function corrupt(why) {
  return new DOMException(`What is stored is not a value that this SDK wrote: ${why}.`, "DataError");
}

// Structured values as bytes: V8's serialisation format, version 15, as `node:v8` and workerd write and read it. Owns:
// which values can be stored, and their form. `v8.deserialize` of Node.js reads what is stored here and the other way
// round, except errors that have a name or fields of their own and `DOMException`, which V8 does not know: their form
// is workerd's.
//
// Two liberties that the format gives: text beyond Latin-1 is written as UTF-8 (tag `S`) where that is not longer than
// V8's UTF-16, and both are read; integers beyond 31 bits are doubles.
//
// What must stay true: neither writing nor reading calls itself, so that values may be nested as deeply as memory
// allows.

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
const PLAIN_ERRORS = new Set(["Error", ...ERROR_TAGS.keys()]);
/** What an error has that V8's form of it holds. */
const PLAIN_FIELDS = new Set(["message", "stack", "cause"]);
/** Numbers of workerd's kinds of objects, and of errors. 0 is an error with a name of its own. */
const NATIVE_ERROR = 10;
const DOM_EXCEPTION = 8;
const NATIVE_ERRORS = [
  "",
  "Error",
  "TypeError",
  "RangeError",
  "ReferenceError",
  "SyntaxError",
  "CompileError",
  "LinkError",
  "RuntimeError",
  "SuspendError",
  "EvalError",
  "URIError",
  "AggregateError",
  "SuppressedError",
];
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
  /**
   * The objects that are being written, the innermost last: how many parts each has, and what writes one and its end.
   */
  #open = [];

  take() {
    return this.#buffer.slice(0, this.#length);
  }

  value(value) {
    this.#begin(value);
    while (this.#open.length > 0) {
      const object = this.#open.at(-1);
      if (object.at < object.count) object.part(object.at++);
      else this.#open.pop().end();
    }
  }

  /** Writes a value up to its first part. */
  #begin(value) {
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
        return value === null ? this.tag("0") : this.#object(value);
      default:
        throw notCloneable(value);
    }
  }

  #parts(count, part, end) {
    this.#open.push({ at: 0, count, part, end });
  }

  #object(object) {
    const id = this.#ids.get(object);
    if (id !== undefined) return this.tag("^").varint(id);
    // The format has a view follow its buffer, and numbers it after it.
    if (ArrayBuffer.isView(object)) this.#object(object.buffer);
    this.#ids.set(object, this.#ids.size);
    if (Array.isArray(object)) return this.#array(object);
    if (ArrayBuffer.isView(object)) return this.view(object);
    if (object instanceof Date) return this.tag("D").double(object.getTime());
    if (object instanceof Map) return this.#items(";", ":", [...object].flat());
    if (object instanceof Set) return this.#items("'", ",", [...object]);
    if (object instanceof ArrayBuffer) return this.tag("B").varint(object.byteLength).bytes(new Uint8Array(object));
    if (object instanceof RegExp) return this.tag("R").string(object.source).varint(regexpBits(object));
    if (globalThis.DOMException && object instanceof DOMException) return this.#domException(object);
    if (object instanceof Error) return this.#error(object);
    if (object instanceof Boolean) return this.tag(object.valueOf() ? "y" : "x");
    if (object instanceof Number) return this.tag("n").double(object.valueOf());
    if (object instanceof BigInt) return this.tag("z").bigint(object.valueOf());
    if (object instanceof String) return this.tag("s").string(object.valueOf());
    if (Object.prototype.toString.call(object) !== "[object Object]" || object[hostObject]) throw notCloneable(object);
    return this.#plain(object, Object.keys(object));
  }

  #array(array) {
    const keys = Object.keys(array);
    const { length } = array;
    const dense = keys.length >= length && (length === 0 || keys[length - 1] === String(length - 1));
    if (!dense) {
      this.tag("a").varint(length);
      const end = () => this.tag("@").varint(keys.length).varint(length);
      return this.#parts(keys.length, (i) => this.#property(array, keys[i]), end);
    }
    this.tag("A").varint(length);
    const part = (i) => (i < length ? this.#begin(array[i]) : this.#property(array, keys[i]));
    return this.#parts(keys.length, part, () =>
      this.tag("$")
        .varint(keys.length - length)
        .varint(length),
    );
  }

  view(view) {
    const tag = VIEW_TAGS.get(view.constructor);
    if (tag === undefined) throw notCloneable(view);
    return this.tag("V").tag(tag).varint(view.byteOffset).varint(view.byteLength).varint(0);
  }

  #items(begin, end, items) {
    this.tag(begin);
    this.#parts(
      items.length,
      (i) => this.#begin(items[i]),
      () => this.tag(end).varint(items.length),
    );
  }

  #plain(object, keys) {
    this.tag("o");
    this.#parts(
      keys.length,
      (i) => this.#property(object, keys[i]),
      () => this.tag("{").varint(keys.length),
    );
  }

  #property(object, key) {
    const index = Number(key);
    if (Number.isInteger(index) && index >= 0 && String(index) === key) this.number(index);
    else this.string(key);
    this.#begin(object[key]);
  }

  #error(error) {
    const name = String(error.name);
    const fields = Object.getOwnPropertyNames(error).filter((key) => key !== "name" && key !== "message");
    if (!PLAIN_ERRORS.has(name) || !fields.every((key) => PLAIN_FIELDS.has(key)))
      return this.#nativeError(error, name, fields);
    this.tag("r");
    const kind = ERROR_TAGS.get(name);
    if (kind !== undefined) this.tag(kind);
    if (Object.hasOwn(error, "message")) this.tag("m").string(String(error.message));
    if (typeof error.stack === "string") this.tag("s").string(error.stack);
    const hasCause = Object.hasOwn(error, "cause");
    if (hasCause) this.tag("c");
    return this.#parts(
      hasCause ? 1 : 0,
      () => this.#begin(error.cause),
      () => this.tag("."),
    );
  }

  #nativeError(error, name, fields) {
    const kind = Math.max(NATIVE_ERRORS.indexOf(name), 0);
    this.tag("\\").varint(NATIVE_ERROR).varint(kind);
    if (kind === 0) this.string(name);
    this.string(String(error.message));
    return this.#plain(error, fields);
  }

  #domException(exception) {
    this.tag("\\").varint(DOM_EXCEPTION);
    for (const part of [exception.name, exception.message, exception.stack ?? ""]) {
      const bytes = fromText(String(part));
      this.varint(bytes.length).bytes(bytes);
    }
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
    if (!NON_LATIN1.test(text)) return this.tag('"').varint(text.length).bytes(fromLatin1(text));
    const utf8 = text.isWellFormed() ? fromText(text) : undefined;
    if (utf8 !== undefined && utf8.length <= 2 * text.length) return this.tag("S").varint(utf8.length).bytes(utf8);
    return this.#wide(text);
  }

  /** The units of a text, at an even place. Halves of surrogate pairs stay as they are. */
  #wide(text) {
    const size = 2 * text.length;
    const at = this.#length + 1 + (size < 0x80 ? 1 : size < 0x4000 ? 2 : size < 0x200000 ? 3 : 4);
    if (at % 2 === 1) this.tag("\0");
    const units = new Uint16Array(text.length);
    for (let i = 0; i < units.length; i++) units[i] = text.charCodeAt(i);
    return this.tag("c").varint(size).bytes(new Uint8Array(units.buffer));
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
/** In place of a value: an object whose parts follow. */
const OPENED = Symbol("opened");
/** Fields of errors that are not enumerable. */
const UNSEEN = new Set(["stack", "cause", "errors"]);

class Reader {
  #bytes;
  #view;
  #at = 0;
  #version;
  #objects = [];
  /** The objects that are being read, the innermost last. */
  #open = [];

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
    let value = this.#begin();
    while (this.#open.length > 0) {
      const object = this.#open.at(-1);
      if (value !== OPENED) object.take(value);
      if (object.isComplete()) value = this.#open.pop().finish();
      else value = this.#begin();
    }
    return value;
  }

  /** Reads a value that has no parts, or an object up to its first part: then the answer is `OPENED`. */
  #begin() {
    let byte;
    // Zeros pad what follows.
    while ((byte = this.#view.getUint8(this.#at++)) === 0);
    const read = READERS[byte];
    if (read === undefined) throw corrupt(`the tag ${JSON.stringify(String.fromCharCode(byte))} is not known`);
    return read(this);
  }

  /** A text. */
  #text() {
    const text = this.#begin();
    if (typeof text !== "string") throw corrupt("a text is missing");
    return text;
  }

  #parts(isComplete, take, finish) {
    this.#open.push({ isComplete, take, finish });
    return OPENED;
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
      "^": (reader) => reader.#viewOf(reader.#known(reader.varint())),
      B: (reader) => reader.#viewOf(reader.#add(reader.take(reader.varint()).slice().buffer)),
      o: (reader) => reader.#properties("{", reader.#add({})),
      A: (reader) => reader.#dense(reader.#add(new Array(reader.varint()))),
      a: (reader) => reader.#sparse(reader.#add(new Array(reader.varint()))),
      ";": (reader) => reader.#map(reader.#add(new Map())),
      "'": (reader) => reader.#set(reader.#add(new Set())),
      D: (reader) => reader.#add(new Date(reader.double())),
      R: (reader) => reader.regexp(),
      r: (reader) => reader.#error(),
      "\\": (reader) => reader.#hostObject(),
      y: (reader) => reader.#add(Object(true)),
      x: (reader) => reader.#add(Object(false)),
      n: (reader) => reader.#add(Object(reader.double())),
      z: (reader) => reader.#add(Object(reader.bigint())),
      s: (reader) => reader.#add(Object(reader.#text())),
    };
    for (const [tag, read] of Object.entries(readers)) READERS[tag.charCodeAt(0)] = read;
  }

  #map(map) {
    const key = [];
    return this.#parts(
      () => this.ends(":"),
      (value) => (key.length === 0 ? key.push(value) : map.set(key.pop(), value)),
      () => map,
    );
  }

  #set(set) {
    return this.#parts(
      () => this.ends(","),
      (value) => set.add(value),
      () => set,
    );
  }

  #dense(array) {
    let at = 0;
    let key;
    const isComplete = () => {
      // A hole, as V8 writes it in arrays that have few.
      for (; at < array.length && this.#bytes[this.#at] === 0x2d; at++) this.#at += 1;
      if (at < array.length) return false;
      if (key === undefined && this.ends("$")) return true;
      key = key === undefined ? this.#key() : key;
      return false;
    };
    const take = (value) => {
      if (at < array.length) array[at++] = value;
      else {
        define(array, key, value);
        key = undefined;
      }
    };
    return this.#parts(isComplete, take, () => this.#counted(array));
  }

  #sparse(array) {
    return this.#properties("@", array, () => this.#counted(array));
  }

  #counted(array) {
    this.varint();
    return array;
  }

  #properties(end, object, finish = () => object) {
    let key;
    const isComplete = () => {
      if (this.ends(end)) return true;
      key = this.#key();
      return false;
    };
    return this.#parts(isComplete, (value) => define(object, key, value), finish);
  }

  #key() {
    const key = this.#begin();
    if (key === OPENED) throw corrupt("a key is an object");
    return key;
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
    const source = this.#text();
    const bits = this.varint();
    return this.#add(new RegExp(source, [...REGEXP_FLAGS].filter((_flag, bit) => bits & (1 << bit)).join("")));
  }

  #error() {
    const at = this.#objects.push(undefined) - 1;
    const own = {};
    let kind = Error;
    const isComplete = () => {
      for (;;) {
        const tag = this.tag();
        if (tag === ".") return true;
        if (tag === "c") return false;
        if (tag === "m") own.message = this.#text();
        else if (tag === "s") own.stack = this.#text();
        else kind = ERRORS[tag] ?? Error;
      }
    };
    const finish = () => {
      const error = (this.#objects[at] = new kind());
      for (const [key, value] of Object.entries(own)) define(error, key, value, false);
      return error;
    };
    return this.#parts(isComplete, (value) => (own.cause = value), finish);
  }

  #hostObject() {
    const kind = this.varint();
    if (kind === DOM_EXCEPTION) return this.#domException();
    if (kind !== NATIVE_ERROR) throw corrupt("it holds an object of workerd's that is not here");
    const at = this.#objects.push(undefined) - 1;
    const name = NATIVE_ERRORS[this.varint()];
    if (name === undefined) throw corrupt("it holds an error of an unknown kind");
    const own = name === "" ? this.#text() : undefined;
    const message = this.#text();
    const type = typeof globalThis[name] === "function" ? globalThis[name] : Error;
    const error = (this.#objects[at] = name === "AggregateError" ? new AggregateError([], message) : new type(message));
    if (own !== undefined || type === Error) define(error, "name", own ?? name, false);
    let fields;
    return this.#parts(
      () => fields !== undefined,
      (value) => (fields = value),
      () => {
        for (const [key, value] of Object.entries(fields)) define(error, key, value, !UNSEEN.has(key));
        return error;
      },
    );
  }

  #domException() {
    const at = this.#objects.push(undefined) - 1;
    const [name, message, stack] = [1, 2, 3].map(() => toTextLossy(this.take(this.varint())));
    const exception = (this.#objects[at] = new DOMException(message, name));
    define(exception, "stack", stack, false);
    return exception;
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

  #known(id) {
    if (id >= this.#objects.length) throw corrupt("it refers to what is not there");
    return this.#objects[id];
  }
}

/** Sets a property, whatever its name is. */
function define(object, key, value, enumerable = true) {
  if (enumerable && key !== "__proto__") object[key] = value;
  else Object.defineProperty(object, key, { value, enumerable, writable: true, configurable: true });
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

// Gives QuickJS in a component a larger stack, and a limit. The engine compares its stack with a limit before each
// call, and throws a RangeError beyond it, but it is built for WebAssembly without one: then an endless recursion ends
// the instance, which nothing can catch.
//
// The stack is in the component's memory. The engine is built with 1 MiB at its beginning; here the stack begins at the
// end of some pages that are added to the memory. The limit is a word of the engine's state. Both are those of one
// version of the engine, so everything that is assumed about them is looked for, and must be found once. Otherwise the
// component stays as it is.

/**
 * Bytes of the engine's stack that calls may use. Of the host's 8 MiB for guests a call takes 2.3 to 3.5 times what it
 * takes of this one, so this limit is reached first. The engine's parsers take more, and reach the host's limit.
 */
const USABLE = 2304 << 10;
/** Bytes below, for functions of the engine that do not look at the limit, and for the host's results. */
const BELOW = 256 << 10;
const PAGE = 64 << 10;

/** Fields of the engine's state (`JSRuntime`): what stands around the limit. Empty lists point to themselves. */
const EMPTY_LISTS = [604, 612];
const STACK_SIZE = 628;
const STACK_TOP = 632;
const STACK_LIMIT = 636;
const EXCEPTION = 640;
/** No exception: the value `JS_UNINITIALIZED`. */
const UNINITIALIZED = 4n << 32n;
/**
 * How the engine's code reads the limit: `i32.const 636`, `i32.add`, `i32.load`. It does so in some forty functions.
 */
const READS_LIMIT = [0x41, 0xfc, 0x04, 0x6a, 0x28, 0x02, 0x00];
const READS_AT_LEAST = 20;

const CORE_MODULE = 1;
const COMPONENT = 4;
const MEMORY = 5;
const GLOBAL = 6;
const EXPORT = 7;
const DATA = 11;
const DATA_COUNT = 12;

/** The component with the limit. As it was, with a warning, if the engine is another version than the SDK knows. */
export function withStackLimit(component) {
  try {
    return limited(component);
  } catch (error) {
    if (!(error instanceof Unknown)) throw error;
    console.error(`warning: a recursion that does not end cannot be caught: ${error.message}`);
    return component;
  }
}

class Unknown extends Error {}

function limited(component) {
  const modules = [...modulesOf(component)];
  const reads = Math.max(...modules.map((module) => occurrences(module, READS_LIMIT)));
  if (reads < READS_AT_LEAST) throw unknown("its code does not read a stack limit where it should");
  const memories = modules.filter((module) => sectionsOf(module).has(MEMORY) && sectionsOf(module).has(DATA));
  if (memories.length !== 1) throw unknown(`${memories.length} modules have its memory`);
  const [memory] = memories;
  const pages = Math.ceil((USABLE + BELOW) / PAGE);
  const top = (memoryPages(memory) + pages) * PAGE;
  const limited = withSegment(memory, limitAddress(memory), top - USABLE);
  return replaced(component, memory, withStack(limited, pages, top));
}

function unknown(what) {
  return new Unknown(`this version of componentize-qjs is not known to the SDK: ${what}`);
}

/** The address of the limit: the only place in memory around which everything is as in the engine's state. */
function limitAddress(module) {
  const image = imageOf(module);
  const view = new DataView(image.buffer);
  const top = stackTop(module);
  const found = [];
  for (let at = 0; at + EXCEPTION + 8 <= image.length; at += 8) {
    if (
      view.getBigUint64(at + EXCEPTION, true) === UNINITIALIZED &&
      EMPTY_LISTS.every((list) => view.getUint32(at + list, true) === at + list) &&
      view.getUint32(at + STACK_LIMIT, true) === 0 &&
      view.getUint32(at + STACK_SIZE, true) === 0 &&
      view.getUint32(at + STACK_TOP, true) > top / 2 &&
      view.getUint32(at + STACK_TOP, true) <= top
    )
      found.push(at + STACK_LIMIT);
  }
  if (found.length !== 1) throw unknown(`${found.length} places look like its state`);
  return found[0];
}

/** The memory as the module's data fill it. */
function imageOf(module) {
  const reader = new Reader(sectionsOf(module).get(DATA));
  const segments = [];
  for (let count = reader.number(); count > 0; count--) {
    if (reader.number() !== 0 || reader.number() !== 0x41) throw unknown("its data are not as expected");
    const at = reader.signed();
    if (reader.number() !== 0x0b) throw unknown("its data are not as expected");
    segments.push([at, reader.take(reader.number())]);
  }
  const image = new Uint8Array(Math.max(...segments.map(([at, bytes]) => at + bytes.length)) + 1024);
  for (const [at, bytes] of segments) image.set(bytes, at);
  return image;
}

/** Where the stack begins, from which it grows down to 0. */
function stackTop(module) {
  return stackPointer(module).value;
}

/** The value with which the stack pointer begins, and where in the section of globals it is. */
function stackPointer(module) {
  const sections = sectionsOf(module);
  const exports = new Reader(sections.get(EXPORT));
  let index;
  for (let count = exports.number(); count > 0; count--) {
    const name = new TextDecoder().decode(exports.take(exports.number()));
    const [kind, which] = [exports.number(), exports.number()];
    if (name === "__stack_pointer" && kind === 3) index = which;
  }
  const globals = new Reader(sections.get(GLOBAL));
  for (let at = 0, count = globals.number(); at < count; at++) {
    globals.take(2);
    if (globals.number() !== 0x41) throw unknown("its globals are not as expected");
    const start = globals.at;
    const value = globals.signed();
    const end = globals.at;
    globals.take(1);
    if (at === index) return { value, start, end };
  }
  throw unknown("it has no stack pointer");
}

/** The pages with which the memory begins. */
function memoryPages(module) {
  const reader = new Reader(sectionsOf(module).get(MEMORY));
  if (reader.number() !== 1 || reader.number() !== 0) throw unknown("its memory is not as expected");
  return reader.number();
}

/** The module with so many pages more, and a stack that begins at their end. */
function withStack(module, pages, top) {
  const { start, end } = stackPointer(module);
  return rebuilt(module, (id, content) => {
    if (id === MEMORY) return new Uint8Array([1, 0, ...unsigned(memoryPages(module) + pages)]);
    if (id === GLOBAL) return concat([content.subarray(0, start), signed(top), content.subarray(end)]);
    return content;
  });
}

/** The module with one more segment of data: a word. */
function withSegment(module, address, word) {
  if (sectionsOf(module).has(DATA_COUNT)) throw unknown("its data are counted");
  const reader = new Reader(sectionsOf(module).get(DATA));
  const count = reader.number();
  const value = new Uint8Array(4);
  new DataView(value.buffer).setUint32(0, word, true);
  const segment = [0, 0x41, ...signed(address), 0x0b, 4, ...value];
  const data = concat([unsigned(count + 1), reader.rest(), segment]);
  return rebuilt(module, (id, content) => (id === DATA ? data : content));
}

/** Bytes in which a module, at whatever depth, is replaced by another one. */
function replaced(component, module, by) {
  return rebuilt(component, (id, content) => {
    if (id === CORE_MODULE && content.byteOffset === module.byteOffset) return by;
    return id === COMPONENT ? replaced(content, module, by) : content;
  });
}

/** A module or component whose sections are what a function makes of them. */
function rebuilt(bytes, map) {
  const parts = [bytes.subarray(0, 8)];
  for (const [id, content] of each(bytes)) {
    const mapped = map(id, content);
    parts.push([id, ...unsigned(mapped.length)], mapped);
  }
  return concat(parts);
}

function* modulesOf(component) {
  for (const [id, content] of each(component)) {
    if (id === CORE_MODULE) yield content;
    if (id === COMPONENT) yield* modulesOf(content);
  }
}

/** The sections of a module by their kind. Those that can be there more than once are not asked for. */
function sectionsOf(module) {
  return new Map(each(module));
}

function* each(bytes) {
  const reader = new Reader(bytes.subarray(8));
  while (!reader.done) {
    const id = reader.number();
    yield [id, reader.take(reader.number())];
  }
}

class Reader {
  #bytes;
  #at = 0;

  constructor(bytes) {
    this.#bytes = bytes;
  }

  get at() {
    return this.#at;
  }

  get done() {
    return this.#at >= this.#bytes.length;
  }

  take(length) {
    this.#at += length;
    if (this.#at > this.#bytes.length) throw unknown("it ends too early");
    return this.#bytes.subarray(this.#at - length, this.#at);
  }

  rest() {
    return this.#bytes.subarray(this.#at);
  }

  /** An unsigned integer in LEB128. */
  number() {
    let value = 0;
    for (let scale = 1; ; scale *= 128) {
      const [byte] = this.take(1);
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value;
    }
  }

  /** A signed integer of 32 bits in LEB128. */
  signed() {
    let value = 0;
    for (let shift = 0; ; shift += 7) {
      const [byte] = this.take(1);
      value |= (byte & 0x7f) << shift;
      if (byte < 0x80) return byte & 0x40 && shift < 25 ? value | (-1 << (shift + 7)) : value;
    }
  }
}

function unsigned(value) {
  const bytes = [];
  for (; value > 0x7f; value >>>= 7) bytes.push((value & 0x7f) | 0x80);
  return [...bytes, value];
}

function signed(value) {
  const bytes = [];
  for (; value < -64 || value > 63; value >>= 7) bytes.push((value & 0x7f) | 0x80);
  return [...bytes, value & 0x7f];
}

function occurrences(bytes, pattern) {
  let count = 0;
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let at = buffer.indexOf(Buffer.from(pattern)); at >= 0; at = buffer.indexOf(Buffer.from(pattern), at + 1))
    count += 1;
  return count;
}

function concat(parts) {
  const bytes = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

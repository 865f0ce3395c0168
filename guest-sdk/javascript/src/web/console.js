// `console`: entries in the object's log. A plain object as the last argument becomes the entry's fields; an error that
// is logged brings its stack as a field.

import logging from "holdfast:object/logging@0.2.0";

import { stackOf, title } from "../stack.js";

let started = false;
const before = globalThis.console;

/** Whether the first turn has begun: before that the class is being built, and there is no host. */
export function hasStarted() {
  return started;
}

/** The first turn begins. */
export function start() {
  started = true;
}

/** Log an uncaught error, with its stack. */
export function logError(error) {
  write("error", [error]);
}

function write(level, values) {
  logging.log(level, ...entryOf(values));
}

/** Message and fields of an entry, whatever is logged: looking at a value can throw. */
function entryOf(values) {
  try {
    const fields = [];
    let shown = values;
    const last = values.at(-1);
    if (values.length > 1 && isPlain(last)) {
      shown = values.slice(0, -1);
      for (const [name, value] of Object.entries(last)) fields.push([name.toWellFormed(), text(value).toWellFormed()]);
    }
    for (const value of values)
      if (value instanceof Error && value.stack) fields.push(["stack", stackOf(value).toWellFormed()]);
    return [format(shown).toWellFormed(), fields];
  } catch {
    return ["something that cannot be shown", []];
  }
}

function format(values) {
  let [first, ...rest] = values;
  if (typeof first === "string" && rest.length > 0) {
    first = first.replace(/%([sdifjoOc%])/g, (all, kind) => {
      if (kind === "%") return "%";
      if (rest.length === 0) return all;
      const value = rest.shift();
      if (kind === "d" || kind === "f") return String(typeof value === "symbol" ? NaN : Number(value));
      if (kind === "i") return String(typeof value === "symbol" ? NaN : parseInt(value, 10));
      return kind === "c" ? "" : text(value);
    });
  }
  return [first, ...rest].map(text).join(" ");
}

function text(value) {
  if (typeof value === "string") return value;
  if (value instanceof Error) return title(value);
  if (typeof value === "bigint") return `${value}n`;
  if (typeof value === "function") return `[Function ${value.name}]`;
  if (typeof value !== "object" || value === null) return String(value);
  const path = [];
  try {
    return JSON.stringify(value, function (_key, inner) {
      while (path.length > 0 && path.at(-1) !== this) path.pop();
      if (path.includes(inner)) return "[Circular]";
      if (typeof inner === "object" && inner !== null) path.push(inner);
      return plain(inner);
    });
  } catch {
    return Object.prototype.toString.call(value);
  }
}

/** What JSON shows of values that it knows nothing of. */
function plain(value) {
  if (typeof value === "bigint") return `${value}n`;
  if (typeof value === "undefined" || typeof value === "function" || typeof value === "symbol") return text(value);
  if (value instanceof Map) return Object.fromEntries(value);
  if (value instanceof Set) return [...value];
  if (value instanceof Error) return title(value);
  if (value instanceof ArrayBuffer) return `[ArrayBuffer of ${value.byteLength} bytes]`;
  if (ArrayBuffer.isView(value)) return `[${value.constructor.name} of ${value.byteLength} bytes]`;
  return value;
}

function isPlain(value) {
  const prototype = typeof value === "object" && value !== null ? Object.getPrototypeOf(value) : undefined;
  return prototype === Object.prototype || prototype === null;
}

const LEVELS = {
  trace: "trace",
  debug: "debug",
  log: "info",
  info: "info",
  dir: "info",
  table: "info",
  warn: "warn",
  error: "error",
};

export const console = {
  assert(condition, ...values) {
    if (!condition) this.error("Assertion failed", ...values);
  },
};
for (const [method, level] of Object.entries(LEVELS)) {
  // While the class is built its log goes to the terminal of the build, if there is a console at all.
  console[method] = (...values) => (started ? write(level, values) : before?.[method]?.(...values));
}

// Which class of a module is the object's, and what it handles. The build asks this to choose the exports of the
// component, and the component to find its class, so both must answer alike.

import { DurableObject, WorkerEntrypoint } from "./index.js";

const HANDLERS = ["fetch", "alarm", "webSocketMessage", "webSocketClose", "webSocketError"];

/** The class of a module: the one of this name, the default export, or the only one that is exported. */
export function classOf(module, name) {
  if (name) {
    if (isClass(module[name])) return module[name];
    throw new Error(`the module exports no class ${name}`);
  }
  if (isClass(module.default)) return module.default;
  const classes = new Set(Object.values(module).filter(isClass));
  if (classes.size === 1) return [...classes][0];
  const names = Object.keys(module).filter((key) => isClass(module[key]));
  throw new Error(
    names.length === 0
      ? "the module exports no class; write `export class … extends DurableObject`"
      : `the module exports several classes (${names.join(", ")}); make one the default export, or name it`,
  );
}

/** The names of the handlers that a class has: methods, and functions that its instances have as fields. */
export function handlersOf(kind) {
  return HANDLERS.filter((name) => typeof kind.prototype[name] === "function" || isField(kind, name));
}

/** Whether the source of a class, or of one that it extends, sets such a field. */
function isField(kind, name) {
  // The second form is a bundler's, of what the first one was.
  const field = new RegExp(`\\b${name}\\s*=[^=>]|["']${name}["']`);
  for (let at = kind; typeof at === "function" && at.prototype; at = Object.getPrototypeOf(at))
    if (field.test(Function.prototype.toString.call(at))) return true;
  return false;
}

function isClass(value) {
  if (typeof value !== "function" || !value.prototype || isOrExtends(value, WorkerEntrypoint)) return false;
  return (
    value.prototype instanceof DurableObject ||
    (/^class\b/.test(String(value)) && typeof value.prototype.fetch === "function")
  );
}

const isOrExtends = (kind, base) => kind === base || kind.prototype instanceof base;

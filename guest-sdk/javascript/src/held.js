// What a turn has until its end, on either engine: work that keeps it going, resources of the host, and an error that
// it cannot survive. Not here: running the turn, which is `turn.js`.

/** Bytes of rows that cursors may bring into memory at the end of one turn. */
const ROWS_MAX = 8 << 20;

let background = [];
/** With each resource, a weak reference to the cursor that reads from it, if it is one. */
const resources = new Map();
let fatal;

/** A cursor's method that reads the rest of its rows into memory, given the bytes that it may; answers what is left. */
export const keepRows = Symbol("keep rows");

/** Hold a resource of the host for the turn: what the class leaves open is closed at its end. */
export function hold(resource, cursor) {
  resources.set(resource, cursor && new WeakRef(cursor));
  return resource;
}

/** Close a resource that the turn holds. */
export function release(resource) {
  resources.delete(resource);
  // Some platforms have only an older engine, in which what is left open stays until the instance goes.
  resource[Symbol.dispose]?.();
}

/** Have the turn, where it can, go on until this promise has settled, and its rejection logged. */
export function waitUntil(promise) {
  background.push(promise);
}

/** The next promise that keeps the turn going, in a list of its own; no list if there is none. */
export function takeBackground() {
  return background.length > 0 ? background.splice(0, 1) : undefined;
}

/** Say that a promise of these was rejected. */
export function rejected(error) {
  console.error("a promise given to waitUntil was rejected:", error);
}

/** Fail the turn with this error, whatever the handler makes of it. If it is an alarm's, it can be the last attempt. */
export function doom(error, givesUp = false) {
  fatal ??= { error, givesUp };
  return error;
}

/** Whether the turn is doomed. */
export function isDoomed() {
  return fatal !== undefined;
}

/** Whether the turn was doomed as the last attempt of its alarm. */
export function gaveUp() {
  return fatal?.givesUp === true;
}

/** Throw what the turn is doomed by, if it is. */
export function throwIfDoomed() {
  if (fatal) throw fatal.error;
}

/** The turn is over. If work goes on after it, cursors that are still in use read the rest of their rows first. */
export function letGo(goesOn = false) {
  let room = ROWS_MAX;
  for (const [resource, cursor] of resources) {
    if (goesOn) room = cursor?.deref()?.[keepRows](room) ?? room;
    release(resource);
  }
  background = [];
  fatal = undefined;
}

// What a turn has until its end, on either engine: work that keeps it going, resources of the host, and an error that
// it cannot survive. Not here: running the turn, which is `turn.js`.

import { forget } from "./jobs.js";

let background = [];
const resources = new Set();
let fatal;

/** Hold a resource of the host for the turn: what the class leaves open is closed at its end. */
export function hold(resource) {
  resources.add(resource);
  return resource;
}

/** Close a resource that the turn holds. */
export function release(resource) {
  resources.delete(resource);
  // Some platforms have only an older engine, in which what is left open stays until the instance goes.
  resource[Symbol.dispose]?.();
}

/** Keep the turn going until this promise has settled. */
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

/** Whether the turn was doomed as the last attempt of its alarm. */
export function gaveUp() {
  return fatal?.givesUp === true;
}

/** Throw what the turn is doomed by, if it is. */
export function throwIfDoomed() {
  if (fatal) throw fatal.error;
}

/** The turn is over. */
export function letGo() {
  if (forget() > 0)
    console.warn("timers that the handler did not wait for were dropped at the end of its turn; use an alarm");
  resources.forEach(release);
  background = [];
  fatal = undefined;
}

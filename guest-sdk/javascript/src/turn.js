// One turn: runs a handler to its end, with all jobs, timers and background work it started. Owns: when a turn is over, and
// what is said of work that outlives it. The contract's handlers are synchronous: once `run` returns nothing of the turn is left.

import { ClassError, failure } from "./errors.js";
import { drain, forget, runNextTimer } from "./jobs.js";
import { Promise, takeUnhandled } from "./promise.js";
import { logError } from "./web/console.js";

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

/** Fail the turn with this error, whatever the handler makes of it. */
export function doom(error) {
  fatal ??= { error };
  return error;
}

/** Call a handler and answer what its promise resolves to. What it throws, or is rejected with, is logged and thrown as a `failure`. */
export function run(handler) {
  try {
    return toTheEnd(handler);
  } catch (error) {
    logError(error);
    throw failure(error);
  }
}

function toTheEnd(handler) {
  try {
    const value = await_(handler);
    for (const promise of background) {
      try {
        await_(() => promise);
      } catch (error) {
        console.error("a promise given to waitUntil was rejected:", error);
      }
    }
    if (fatal) throw fatal.error;
    return value;
  } finally {
    takeUnhandled((error) => console.error("Uncaught (in promise)", error));
    drain();
    if (forget() > 0)
      console.warn("timers that the handler did not wait for were dropped at the end of its turn; use an alarm");
    resources.forEach(release);
    background = [];
    fatal = undefined;
  }
}

function await_(handler) {
  let outcome;
  Promise.try(handler).then(
    (value) => (outcome = { value }),
    (error) => (outcome = { error }),
  );
  drain();
  while (outcome === undefined) {
    if (!runNextTimer())
      throw new ClassError("never-settles", "the handler waits for a promise that nothing will settle");
    drain();
  }
  if ("error" in outcome) throw outcome.error;
  return outcome.value;
}

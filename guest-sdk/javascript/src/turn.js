// One turn: runs a handler to its end, with all jobs, timers and background work it started. Owns: when a turn is over, and
// what is said of work that outlives it. The contract's handlers are synchronous: once `run` returns nothing of the turn is left.

import { ClassError, failure } from "./errors.js";
import { inBackground, letGo, rejected, throwIfDoomed } from "./held.js";
import { drain, runNextTimer } from "./jobs.js";
import { Promise, takeUnhandled } from "./promise.js";
import { logError } from "./web/console.js";

export { doom, hold, release, waitUntil } from "./held.js";

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
    for (const promise of inBackground()) {
      try {
        await_(() => promise);
      } catch (error) {
        rejected(error);
      }
    }
    throwIfDoomed();
    return value;
  } finally {
    takeUnhandled((error) => console.error("Uncaught (in promise)", error));
    drain();
    letGo();
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

// One turn: runs a handler to its end, with all jobs, timers and background work it started. Owns: when a turn is over,
// and what is said of work that outlives it. The contract's handlers are synchronous: once `run` returns nothing of the
// turn is left.

import { enter, isBusy } from "./context.js";
import { ClassError, failure } from "./errors.js";
import { gaveUp, letGo, rejected, takeBackground, throwIfDoomed } from "./held.js";
import { drain, runNext } from "./jobs.js";
import { Promise, takeUnhandled } from "./promise.js";
import { logError } from "./web/console.js";

export { doom, hold, release, waitUntil } from "./held.js";

/**
 * Call a handler and answer what its promise resolves to. What it throws, or is rejected with, is logged and thrown as
 * a `failure`. That of an alarm can say that it is the last attempt.
 */
export function run(handler, isAlarm = false) {
  try {
    return toTheEnd(handler);
  } catch (error) {
    logError(error);
    throw failure(error, isAlarm && gaveUp());
  } finally {
    letGo();
  }
}

function toTheEnd(handler) {
  try {
    const value = await_(handler);
    for (;;) {
      // A transaction that the handler did not wait for ends here.
      while (isBusy()) advance("a transaction");
      const next = takeBackground();
      if (next === undefined) break;
      try {
        await_(() => next[0]);
      } catch (error) {
        rejected(error);
      }
    }
    throwIfDoomed();
    return value;
  } finally {
    takeUnhandled((error) => console.error("Uncaught (in promise)", error));
    drain();
  }
}

function await_(handler) {
  let outcome;
  enter(undefined);
  Promise.try(handler).then(
    (value) => (outcome = { value }),
    (error) => (outcome = { error }),
  );
  drain();
  while (outcome === undefined) advance("the handler");
  if ("error" in outcome) throw outcome.error;
  return outcome.value;
}

/** Run what comes next when no job is left. */
function advance(who) {
  if (!runNext()) throw new ClassError("never-settles", `${who} waits for a promise that nothing will settle`);
  drain();
}

// In place of `src/turn.js`: this engine runs jobs and timers until the promise of a handler has settled.

import later from "holdfast:object/later@0.2.0";

import { idle } from "../context.js";
import { failure } from "../errors.js";
import { doom, gaveUp, isDoomed, letGo, rejected, takeBackground, throwIfDoomed } from "../held.js";
import { forget } from "../jobs.js";
import { logError } from "../web/console.js";

export { doom, hold, release, waitUntil } from "../held.js";
/** What `blockConcurrencyWhile` has run has failed, which fails the turn. */
export const breakWith = doom;

/** Nothing is ever suspended here, so nothing is resumed. */
export function resume() {}

function end() {
  if (forget() > 0)
    console.warn("timers that the handler did not wait for were dropped at the end of its turn; use an alarm");
  letGo();
}

export async function run(handler, _toAnswer, { isAlarm = false } = {}) {
  // The engine runs jobs to their end after the handler's promise has settled, and they may have started something.
  end();
  try {
    const value = await handler();
    for (;;) {
      // A transaction that the handler did not wait for ends here.
      await new Promise(idle);
      const next = takeBackground();
      if (next === undefined) break;
      await Promise.resolve(next[0]).catch(rejected);
    }
    throwIfDoomed();
    return value;
  } catch (error) {
    logError(error);
    // What the turn was doomed by is known until it has let go.
    const isLast = isAlarm && gaveUp();
    if (isDoomed()) later.dropInstance();
    throw failure(error, isLast);
  } finally {
    end();
  }
}

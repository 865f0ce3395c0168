// In place of `src/turn.js`: this engine runs jobs and timers until the promise of a handler has settled.

import { failure } from "../errors.js";
import { inBackground, letGo, rejected, throwIfDoomed } from "../held.js";
import { logError } from "../web/console.js";

export { doom, hold, release, waitUntil } from "../held.js";

export async function run(handler) {
  // The engine runs jobs to their end after the handler's promise has settled, and they may have started something.
  letGo();
  try {
    const value = await handler();
    for (const promise of inBackground()) await Promise.resolve(promise).catch(rejected);
    throwIfDoomed();
    return value;
  } catch (error) {
    logError(error);
    throw failure(error);
  } finally {
    letGo();
  }
}

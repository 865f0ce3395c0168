// What uses sections (`context.js`): work that keeps other work of the turn away from storage, and operations that are
// kept away.

import { begin, current, end, mayRun, wait } from "./context.js";
import { Promise, promised } from "./promise.js";

/**
 * Runs a callback as a section, as soon as no other one is open but those around it. Returns a promise of what it
 * resolves to. It never begins inside this call, and ends when its promise has settled and the sections inside it have
 * ended. `spansTurns`: it may go on in later turns.
 */
export function section(callback, spansTurns = false) {
  return new Promise((resolve, reject) => {
    const run = () => {
      const opened = begin(spansTurns);
      const settle = (how) => (value) => operation(() => end(opened)).then(() => how(value));
      promised(() => callback(opened)).then(settle(resolve), settle(reject));
    };
    wait(run);
  });
}

/**
 * Calls a function that touches storage as code of a section: now, or when the section that is open has ended. A
 * promise of its result.
 */
export function operation(call, of = current) {
  if (mayRun(of)) return promised(call);
  return new Promise((resolve, reject) => {
    const run = () => {
      try {
        resolve(call());
      } catch (error) {
        reject(error);
      }
    };
    wait(run, of);
  });
}

/**
 * Refuses what touches storage at once and cannot wait, if a section is open that the running code does not belong to.
 */
export function mustBeInside(name) {
  if (!mayRun(current))
    throw new Error(
      `Cannot call ${name} while a transaction is open that the caller is not part of: await the transaction first, or call it inside.`,
    );
}

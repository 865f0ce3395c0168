// In place of `src/promise.js`: this engine runs its own jobs, so its own promises will do. The build turns `async`
// functions into generators here, too, so that each part of one begins in `then`, which is where a reaction gets the
// section of the code that asked for it.

import { current, enter } from "../context.js";

export const Promise = globalThis.Promise;

const { then } = Promise.prototype;
Object.defineProperty(Promise.prototype, "then", {
  value: function (onFulfilled, onRejected) {
    const section = current;
    const inSection = (handler) =>
      typeof handler !== "function"
        ? handler
        : (value) => {
            enter(section);
            try {
              return handler(value);
            } finally {
              // Jobs of the engine's own follow, which belong to no section.
              enter(undefined);
            }
          };
    return then.call(this, inSection(onFulfilled), inSection(onRejected));
  },
  writable: true,
  configurable: true,
});

/** A promise of what a function answers or throws. */
export function promised(call) {
  return new Promise((resolve) => resolve(call()));
}

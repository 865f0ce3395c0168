// Generated programs of several clients of one object: each waits for timers, for other clients and for storage, starts
// timers and work that it does not wait for, and may throw. `src/interleaving.js` runs them. All timers of a program
// have different times, so that its trace is the same wherever it is run.

import { random } from "./transactions.mjs";

/** The program of a seed: the steps of each client, and whether the request that starts them throws. */
export function programOf(seed) {
  const below = random(seed + 7919);
  const pick = (list) => list[below(list.length)];
  const key = () => pick(["a", "b", "c"]);
  const slots = Array.from({ length: 14 }, (_, index) => index + 1);
  /** A time that no other timer of the program has, after another one. */
  const slotAfter = (slot) => {
    const free = slots.filter((each) => each > slot);
    if (free.length === 0) return undefined;
    const chosen = free[below(Math.min(free.length, 5))];
    slots.splice(slots.indexOf(chosen), 1);
    return chosen;
  };
  let signals = 0;

  const simple = () =>
    pick([
      () => ["put", key()],
      () => ["get", key()],
      () => ["sql"],
      () => ["tick"],
      () => ["transaction", key(), below(3) === 0],
    ])();

  const block = (length, depth) => {
    const steps = [];
    let now = 0;
    for (let i = 0; i < length; i++) {
      const slot = slotAfter(now);
      if (slot === undefined) break;
      const kind = i === 0 ? 0 : below(6);
      if (kind === 5 && depth > 0) {
        slots.push(slot);
        slots.sort((one, other) => one - other);
        const inner = block(2, 0);
        if (inner.length > 0) steps.push(["background", pick(["plain", "waitUntil"]), inner]);
      } else if (kind === 4) {
        steps.push(["timer", slot, key(), below(4) === 0]);
      } else if (kind === 3) {
        // Whoever waits goes on in the turn of another one's timer.
        steps.push(["wait", slot, ++signals]);
        now = slot;
      } else {
        steps.push(["nap", slot]);
        now = slot;
      }
      for (let j = below(3); j > 0; j--) steps.push(simple());
    }
    if (below(5) === 0) steps.push(["throw"]);
    return steps;
  };

  const blocks = Array.from({ length: 2 + below(2) }, () => block(2 + below(3), 1));
  const clients = blocks.filter((steps) => steps.length > 0);
  return { clients, throws: below(4) === 0 };
}

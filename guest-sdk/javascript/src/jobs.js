// The queue of jobs that promises and `queueMicrotask` fill, and timers. Owns: what runs next within a turn. Does not
// own: when a turn begins and ends (`turn.js`), and which section may run (`context.js`).
//
// A handler of the contract returns when its turn is done, so the SDK must be able to run all jobs before it returns.
// The engine gives a script no way to run its own queue; that is why there is one here, and a `Promise` that uses it.

import monotonicClock from "wasi:clocks/monotonic-clock@0.2.0";

import { current, enter, firstWaiting, leaveAll, mayRun, runWaiting } from "./context.js";

let queue = [];
let head = 0;

/** Have a function called after the job that runs now. It must not throw. */
export function enqueue(job) {
  queue.push(job);
}

/** Run jobs until there are none. */
export function drain() {
  while (head < queue.length) queue[head++]();
  queue = [];
  head = 0;
}

const timers = new Map();
let lastTimer = 0;

/** Add a timer. An interval repeats until it is removed. */
export function addTimer(callback, delay, args, repeats) {
  const wait = Math.max(repeats ? 1 : 0, Math.min(Number(delay) || 0, 2 ** 31 - 1));
  timers.set(++lastTimer, { callback, args, due: now() + wait, every: repeats ? wait : undefined, section: current });
  return lastTimer;
}

/** Remove a timer, if it is there. */
export function removeTimer(id) {
  timers.delete(id);
}

/**
 * Run what has waited for a section to end, or else the next timer, for which it waits. False if there is neither.
 * Timers of code that is not in the innermost section wait, and sections come before timers, as on Durable Objects. The
 * object handles nothing else meanwhile.
 */
export function runNext() {
  const waiting = firstWaiting();
  if (waiting !== undefined) {
    runWaiting(waiting);
    return true;
  }
  let first;
  for (const entry of timers)
    if (mayRun(entry[1].section) && (first === undefined || entry[1].due < first[1].due)) first = entry;
  if (first === undefined) return false;
  const [id, timer] = first;
  const wait = timer.due - now();
  if (wait > 0) sleep(wait);
  if (timer.every === undefined) timers.delete(id);
  else timer.due += timer.every;
  enter(timer.section);
  timer.callback(...timer.args);
  return true;
}

/** Forget all jobs and timers. Answers how many timers there were. */
export function forget() {
  const left = timers.size;
  timers.clear();
  leaveAll();
  queue = [];
  head = 0;
  return left;
}

function now() {
  return monotonicClock.now() / 1e6;
}

function sleep(milliseconds) {
  const pollable = monotonicClock.subscribeDuration(Math.ceil(milliseconds * 1e6));
  pollable.block();
  pollable[Symbol.dispose]?.();
}

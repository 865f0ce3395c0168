// The queue of jobs that promises and `queueMicrotask` fill, and timers. Owns: what runs next within a turn, and which
// resume of the host (`wit/later.wit`) stands for which timer between turns. Does not own: when a turn begins and ends
// (`turn.js`), and which section may run (`context.js`).
//
// A handler of the contract returns when its turn is done, so the SDK must be able to run all jobs before it returns.
// The engine gives a script no way to run its own queue; that is why there is one here, and a `Promise` that uses it.

import later from "holdfast:object/later@0.2.0";
import monotonicClock from "wasi:clocks/monotonic-clock@0.2.0";

import { current, enter, firstWaiting, leaveAll, mayRun, runWaiting } from "./context.js";
import { hostOf } from "./errors.js";

const host = hostOf("guest-error");

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

/** Timers that no resume stands for yet, by their ids. */
let fresh = [];
/** The timers that resumes of the host stand for, by token. */
const resumes = new Map();

/** Add a timer. An interval repeats until it is removed. */
export function addTimer(callback, delay, args, repeats) {
  const wait = Math.max(repeats ? 1 : 0, Math.min(Number(delay) || 0, 2 ** 31 - 1));
  const id = ++lastTimer;
  const every = repeats ? wait : undefined;
  timers.set(id, { id, callback, args, due: now() + wait, every, context: current, token: undefined });
  fresh.push(id);
  return id;
}

/** Remove a timer, if it is there. */
export function removeTimer(id) {
  const timer = timers.get(id);
  if (timer === undefined) return;
  timers.delete(id);
  forgetResume(timer);
}

/** Whether there is a timer. */
export function hasTimers() {
  return timers.size > 0;
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
  const timer = next(Infinity);
  if (timer === undefined) return false;
  const wait = timer.due - now();
  if (wait > 0) sleep(wait);
  fire(timer);
  return true;
}

/** Returns when the timers are due that the host resumes the object for: of these tokens, and of what is due now. */
export function dueWith(tokens) {
  let until = now();
  for (const token of tokens) {
    const timer = resumes.get(token);
    if (timer === undefined) continue;
    resumes.delete(token);
    timer.token = undefined;
    fresh.push(timer.id);
    until = Math.max(until, timer.due);
  }
  return until;
}

/** Run the next timer that is due at that time. False if there is none. */
export function runDue(until) {
  const timer = next(until);
  if (timer === undefined) return false;
  fire(timer);
  return true;
}

/** Returns the first timer that is due at that time and may run. */
function next(until) {
  let first;
  for (const timer of timers.values())
    if (timer.due <= until && mayRun(timer.context) && (first === undefined || timer.due < first.due)) first = timer;
  return first;
}

function fire(timer) {
  forgetResume(timer);
  if (timer.every === undefined) {
    timers.delete(timer.id);
  } else {
    // One that is late does not catch up.
    timer.due = Math.max(timer.due + timer.every, now());
    fresh.push(timer.id);
  }
  enter(timer.context);
  timer.callback(...timer.args);
}

/**
 * Have the host resume the object for the timers that are left. Those that are due first come first: where the host
 * takes no more, the others follow when some of these have run. Timers outside of the section that is open follow after
 * its end.
 */
export function scheduleTimers() {
  if (fresh.length === 0) return;
  const all = [...new Set(fresh)].map((id) => timers.get(id)).filter((timer) => timer && timer.token === undefined);
  const left = all.filter(({ context }) => mayRun(context));
  fresh = all.filter(({ context }) => !mayRun(context)).map(({ id }) => id);
  left.sort((one, other) => one.due - other.due || one.id - other.id);
  const at = now();
  for (const [index, timer] of left.entries()) {
    const wait = Math.max(0, Math.ceil(timer.due - at));
    try {
      timer.token = host(later.resumeAfter, wait, timer.every === undefined);
    } catch (error) {
      if (error.code !== "too-many") throw error;
      fresh.push(...left.slice(index).map(({ id }) => id));
      return;
    }
    resumes.set(timer.token, timer);
  }
}

function forgetResume(timer) {
  if (timer.token === undefined) return;
  resumes.delete(timer.token);
  later.cancel(timer.token);
  timer.token = undefined;
}

/** Forget all jobs and sections: the turn has failed, and the instance is dropped with it. */
export function forget() {
  leaveAll();
  queue = [];
  head = 0;
}

function now() {
  return monotonicClock.now() / 1e6;
}

function sleep(milliseconds) {
  const pollable = monotonicClock.subscribeDuration(Math.ceil(milliseconds * 1e6));
  pollable.block();
  pollable[Symbol.dispose]?.();
}

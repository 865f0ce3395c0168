// In place of `src/jobs.js`: this engine has the queue of jobs and the timers. Owns: which timers the turn has started,
// because the engine would go on with them in the turns after it, and when what waits for a section to end goes on.

import { current, enter, firstWaiting, leaveAll, mayRun, onWait, runWaiting, wait } from "../context.js";

const { clearTimeout, queueMicrotask, setInterval, setTimeout } = globalThis;

const timers = new Set();

export const enqueue = queueMicrotask;

export function addTimer(callback, delay, args, repeats) {
  const section = current;
  const run = () => {
    if (!timers.has(id)) return;
    if (!repeats) timers.delete(id);
    enter(section);
    try {
      callback(...args);
    } finally {
      enter(undefined);
    }
  };
  const due = () => (mayRun(section) ? run() : wait(run, section));
  const id = repeats ? setInterval(due, delay) : setTimeout(due, delay);
  timers.add(id);
  return id;
}

export function removeTimer(id) {
  timers.delete(id);
  clearTimeout(id);
}

/** Forget all timers. Answers how many there were. */
export function forget() {
  const left = timers.size;
  timers.forEach(removeTimer);
  leaveAll();
  return left;
}

let isPumping = false;

/** Goes on, after the jobs that there are, with what has waited and may run now. */
function pump() {
  if (isPumping) return;
  isPumping = true;
  setTimeout(() => {
    isPumping = false;
    const waiting = firstWaiting();
    if (waiting === undefined) return;
    runWaiting(waiting);
    enter(undefined);
    pump();
  }, 0);
}

onWait(pump);

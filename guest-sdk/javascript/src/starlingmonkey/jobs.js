// In place of `src/jobs.js`: this engine has the queue of jobs and the timers. Owns: which timers the turn has started, because the
// engine would go on with them in the turns after it.

const { clearTimeout, queueMicrotask, setInterval, setTimeout } = globalThis;

const timers = new Set();

export const enqueue = queueMicrotask;

export function addTimer(callback, delay, args, repeats) {
  const once = () => {
    timers.delete(id);
    callback(...args);
  };
  const id = repeats ? setInterval(callback, delay, ...args) : setTimeout(once, delay);
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
  return left;
}

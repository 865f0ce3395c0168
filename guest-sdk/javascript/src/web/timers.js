// Timers and microtasks for the class. What a callback throws is logged: there is no caller to catch it.

import { current, enter } from "../context.js";
import { addTimer, enqueue, removeTimer } from "../jobs.js";
import { console } from "./console.js";

function reporting(where, callback) {
  if (typeof callback !== "function") throw new TypeError("a callback is a function");
  return (...args) => {
    try {
      callback(...args);
    } catch (error) {
      console.error(`Uncaught in ${where}`, error);
    }
  };
}

function queueMicrotask(callback) {
  const job = reporting("a microtask", callback);
  const context = current;
  enqueue(() => {
    enter(context);
    job();
  });
}

export const timers = {
  clearInterval: removeTimer,
  clearTimeout: removeTimer,
  queueMicrotask,
  setInterval: (callback, delay, ...args) => addTimer(reporting("a timer", callback), delay, args, true),
  setTimeout: (callback, delay, ...args) => addTimer(reporting("a timer", callback), delay, args, false),
};

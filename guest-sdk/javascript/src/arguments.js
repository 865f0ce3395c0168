// Checks of what a class gives to the SDK, in workerd's words. What passes them has the types that the host's functions
// take: the engine ends the instance if it is given others.

import { refusal } from "./errors.js";

/** Says that an argument has the wrong type. */
export function mistyped(method, on, position, type) {
  return new TypeError(`Failed to execute '${method}' on '${on}': parameter ${position} is not of type '${type}'.`);
}

/** A value as text that is valid Unicode. Throws a `TypeError` for symbols. */
export function text(value) {
  return `${value}`.toWellFormed();
}

/** A function, or a `TypeError`. */
export function callable(value, method, on) {
  if (typeof value !== "function") throw mistyped(method, on, 1, "function");
  return value;
}

/** The time of an alarm in milliseconds, from a number or a `Date`. */
export function alarmTime(value) {
  if (typeof value !== "number" && !(value instanceof Date))
    throw mistyped("setAlarm", "DurableObjectStorage", 1, "date");
  const time = Math.floor(value);
  if (Number.isNaN(time)) throw new TypeError("The value cannot be converted because it is not a valid Date.");
  const refuse = (why) => {
    throw refusal("alarm-error", "bad-time", null, `setAlarm() cannot be called with an alarm time ${why}`);
  };
  if (time <= 0) refuse("<= 0");
  if (time >= 2 ** 53) refuse("beyond 2^53 - 1");
  return time;
}

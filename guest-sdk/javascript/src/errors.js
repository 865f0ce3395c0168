// Errors between the class and the host. Owns: how a refusal of the host becomes an `Error`, and an `Error` a
// `failure`.

/** Under this key, a refusal of the host has the code of the turn that fails of it: as in every other language. */
const FAILURE_CODE = Symbol("failure code");

/** An error with a short stable word that clients of the object can match on. */
export class ClassError extends Error {
  /**
   * @param {string} code `[a-z0-9-]`, 1 to 64 bytes.
   * @param {string} message What went wrong, for a person.
   * @param {{ retryable?: boolean, detail?: unknown, cause?: unknown }} options `retryable`: whether the same request may
   * succeed later. `detail`: what the case of the contract carries (null if nothing), for a refusal of the host.
   */
  constructor(code, message, { retryable = false, detail, ...options } = {}) {
    super(message, options);
    this.code = code;
    this.retryable = retryable;
    this.detail = detail;
  }

  /** Every refusal of the host is one, also those that have the type that they have on Durable Objects. */
  static [Symbol.hasInstance](value) {
    const isRefusal = this === ClassError && value !== null && typeof value === "object" && FAILURE_CODE in value;
    return isRefusal || Function.prototype[Symbol.hasInstance].call(this, value);
  }
}
Object.defineProperty(ClassError.prototype, "name", { value: "ClassError", configurable: true, writable: true });

/** A refusal of the host. It has the name that such errors have on Durable Objects. */
class Refusal extends ClassError {}
Object.defineProperty(Refusal.prototype, "name", { value: "Error", configurable: true, writable: true });

/** What the host says of the cases that carry no words. */
const WORDS = {
  "key-size": (bytes) => `a key has 1 to 2,048 bytes, this one ${bytes}`,
  "value-size": (bytes) => `key and value have at most 2,000,000 bytes together, these ${bytes}`,
  "too-many": (count) => `at most 128 keys or entries in one call, not ${count}`,
  full: () => "the object's storage is full",
  closed: () =>
    "it is closed: its turn has ended, or something later in the turn ended it (deleteAll(), or a transaction that was undone)",
  "savepoint-open": () => "not possible inside a transaction",
  "too-deep": (limit) => `at most ${limit} transactions inside each other`,
  "bad-time": () => "setAlarm() cannot be called with an alarm time <= 0, or beyond 2^53 - 1",
  "no-handler": () => "Your Durable Object class must have an alarm() handler in order to call setAlarm()",
  "no-statement": () => "SQL code did not contain a statement.",
  "parameter-count": ({ expected, given }) =>
    `Wrong number of parameter bindings for SQL query: it takes ${expected}, and ${given} were given.`,
  "not-authorized": (what) => `not authorized: ${what}: SQLITE_AUTH`,
  constraint: ({ code, message }) => `${message}: SQLITE_CONSTRAINT${extended(code)}`,
  sqlite: ({ code, message }) => `${message}: ${SQLITE_CODES[code & 0xff] ?? "SQLITE_ERROR"}`,
  "not-an-upgrade": () => "the request does not ask for a WebSocket",
  "already-accepted": () => "this request's WebSocket was accepted already",
  "too-many-sockets": (limit) => `the object has ${limit} WebSockets, which is all it may have`,
  "unknown-socket": () => "the WebSocket is closed",
  closing: () => "Can't call WebSocket send() after close().",
  "too-large": (what) =>
    typeof what === "string" ? what : `${what.size} bytes are more than the limit of ${what.limit}`,
  "too-much": (limit) => `one turn sends at most ${limit} bytes of messages`,
  "bad-code": (code) => `Invalid WebSocket close code: ${code}.`,
};

const SQLITE_CODES = {
  5: "SQLITE_BUSY",
  6: "SQLITE_LOCKED",
  9: "SQLITE_INTERRUPT",
  11: "SQLITE_CORRUPT",
  18: "SQLITE_TOOBIG",
  20: "SQLITE_MISMATCH",
  25: "SQLITE_RANGE",
};

const CONSTRAINTS = {
  275: "CHECK",
  787: "FOREIGNKEY",
  1299: "NOTNULL",
  1555: "PRIMARYKEY",
  1811: "TRIGGER",
  2067: "UNIQUE",
  2579: "ROWID",
  3091: "DATATYPE",
};
const extended = (code) => (code in CONSTRAINTS ? ` (extended: SQLITE_CONSTRAINT_${CONSTRAINTS[code]})` : "");

/** Refusals that are errors of other types on Durable Objects. */
const typeError = (message) => new TypeError(message);
const TYPES = {
  "bad-code": (message) => new DOMException(message, "InvalidAccessError"),
  "bad-range": typeError,
  "bad-time": typeError,
  closing: typeError,
  "no-handler": typeError,
};

/**
 * Make what calls functions of the host. Their refusals come as errors with the case's name as code and its meaning as
 * message; a turn that fails of one has this failure code.
 *
 * @param {"storage-error" | "sql-error" | "alarm-error" | "websocket-error"} failureCode
 */
export function hostOf(failureCode) {
  return (call, ...args) => {
    try {
      return call(...args);
    } catch (thrown) {
      const { tag, val } = thrown?.payload ?? {};
      if (typeof tag !== "string") throw thrown;
      throw refusal(failureCode, tag, val);
    }
  };
}

const wordsOf = (tag, detail) => WORDS[tag]?.(detail) ?? String(detail ?? tag);

/** The error of a case of the contract, from the host or in its place. */
export function refusal(failureCode, tag, detail = null, message = wordsOf(tag, detail), make = TYPES[tag]) {
  const error = make ? make(message) : new Refusal(tag, message, { detail });
  // An error of another type has the fields of a `ClassError`, too.
  for (const [name, value] of Object.entries({ code: tag, retryable: false, detail }))
    Object.defineProperty(error, name, { value, writable: true, configurable: true });
  Object.defineProperty(error, FAILURE_CODE, { value: failureCode });
  return error;
}

/** The code with which an alarm's handler says that it is not to be tried again (`wit/alarm-handler.wit`). */
const GIVE_UP = "give-up";

/** The record `failure` that stands for what a handler threw, whatever that is. */
export function failure(thrown, givesUp = false) {
  try {
    const chosen = givesUp
      ? GIVE_UP
      : isOutOfMemory(thrown)
        ? "out-of-memory"
        : (thrown?.[FAILURE_CODE] ?? thrown?.code);
    const code = typeof chosen === "string" && /^[a-z0-9-]{1,64}$/.test(chosen) ? chosen : "guest-error";
    return { code, message: describe(thrown), retryable: thrown?.retryable === true };
  } catch {
    const code = givesUp ? GIVE_UP : "guest-error";
    return { code, message: "something that cannot be shown was thrown", retryable: false };
  }
}

/** The engine says so when the instance may have no more memory. */
function isOutOfMemory(thrown) {
  return (
    thrown instanceof Error && /^(?:InternalError|RangeError)$/.test(thrown.name) && thrown.message === "out of memory"
  );
}

function describe(thrown) {
  if (typeof thrown?.message === "string" && thrown.message !== "") return thrown.message.toWellFormed();
  return `${thrown instanceof Error ? thrown.message || thrown.name : thrown}`.toWellFormed();
}

// Errors between the class and the host. Owns: how a refusal of the host becomes an `Error`, and an `Error` a `failure`.

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
}
Object.defineProperty(ClassError.prototype, "name", { value: "ClassError", configurable: true, writable: true });

/** What the host says of the cases that carry no words. */
const WORDS = {
  "key-size": (bytes) => `a key has 1 to 2,048 bytes, this one ${bytes}`,
  "value-size": (bytes) => `key and value have at most 2,000,000 bytes together, these ${bytes}`,
  "too-many": (count) => `at most 128 keys or entries in one call, not ${count}`,
  full: () => "the object's storage is full",
  closed: () => "the turn that this belongs to has ended",
  "savepoint-open": () => "not possible inside a transaction",
  "too-deep": (limit) => `at most ${limit} transactions inside each other`,
  "bad-time": () => "setAlarm() cannot be called with an alarm time <= 0, or beyond 2^53 − 1",
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
  "too-large": (what) => (typeof what === "string" ? what : `${what.size} bytes are more than the limit of ${what.limit}`),
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

/** Under this key, a refusal of the host has the code of the turn that fails of it: as in every other language. */
const FAILURE_CODE = Symbol("failure code");

/**
 * Make what calls functions of the host. Their refusals come as errors with the case's name as code and its meaning as message; a turn
 * that fails of one has this failure code.
 *
 * @param {"storage-error" | "sql-error" | "alarm-error" | "websocket-error"} failureCode
 */
export function hostOf(failureCode) {
  return (call, ...args) => {
    try {
      return call(...args);
    } catch (thrown) {
      const refusal = thrown?.payload;
      if (typeof refusal?.tag !== "string") throw thrown;
      const words = WORDS[refusal.tag];
      const message = words ? words(refusal.val) : String(refusal.val ?? refusal.tag);
      const error = new ClassError(refusal.tag, message, { detail: refusal.val ?? null });
      throw Object.defineProperty(error, FAILURE_CODE, { value: failureCode });
    }
  };
}

/** The record `failure` that stands for what a handler threw. */
export function failure(thrown) {
  const isError = thrown instanceof Error;
  const chosen = thrown?.[FAILURE_CODE] ?? thrown?.code;
  const code = typeof chosen === "string" && /^[a-z0-9-]{1,64}$/.test(chosen) ? chosen : "guest-error";
  const message = isError ? thrown.message || thrown.name : describe(thrown);
  return { code, message: message.toWellFormed(), retryable: thrown?.retryable === true };
}

function describe(thrown) {
  try {
    return typeof thrown?.message === "string" ? thrown.message : String(thrown);
  } catch {
    return "something that cannot be shown was thrown";
  }
}

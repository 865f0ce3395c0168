// `Event`, `EventTarget`, `AbortController` and `AbortSignal` after the DOM Standard, without a tree to bubble in.

import { timers } from "./timers.js";

export class Event {
  #type;
  #cancelable;
  #prevented = false;
  /** Set while it is dispatched. */
  target = null;
  currentTarget = null;
  stopped = false;

  constructor(type, { cancelable = false } = {}) {
    this.#type = String(type);
    this.#cancelable = cancelable;
  }

  get type() {
    return this.#type;
  }

  get cancelable() {
    return this.#cancelable;
  }

  get defaultPrevented() {
    return this.#prevented;
  }

  preventDefault() {
    if (this.#cancelable) this.#prevented = true;
  }

  stopPropagation() {}

  stopImmediatePropagation() {
    this.stopped = true;
  }
}

export class CustomEvent extends Event {
  constructor(type, { detail = null, ...options } = {}) {
    super(type, options);
    this.detail = detail;
  }
}

/** What a WebSocket receives. */
export class MessageEvent extends Event {
  constructor(type, { data = null, ...options } = {}) {
    super(type, options);
    this.data = data;
  }
}

/** The end of a WebSocket. */
export class CloseEvent extends Event {
  constructor(type, { code = 0, reason = "", wasClean = false, ...options } = {}) {
    super(type, options);
    Object.assign(this, { code, reason, wasClean });
  }
}

/** The failure of a WebSocket. */
export class ErrorEvent extends Event {
  constructor(type, { message = "", error = undefined, ...options } = {}) {
    super(type, options);
    Object.assign(this, { message, error });
  }
}

export class EventTarget {
  #listeners = [];

  addEventListener(type, listener, options) {
    if (listener === null || listener === undefined) return;
    const { once = false, signal } = typeof options === "object" && options !== null ? options : {};
    if (signal?.aborted || this.#listeners.some((entry) => entry.type === type && entry.listener === listener)) return;
    this.#listeners.push({ type: String(type), listener, once });
    signal?.addEventListener("abort", () => this.removeEventListener(type, listener));
  }

  removeEventListener(type, listener) {
    this.#listeners = this.#listeners.filter((entry) => entry.type !== type || entry.listener !== listener);
  }

  dispatchEvent(event) {
    event.target = event.currentTarget = this;
    for (const entry of this.#listeners.filter(({ type }) => type === event.type)) {
      if (event.stopped) break;
      if (!this.#listeners.includes(entry)) continue;
      if (entry.once) this.removeEventListener(entry.type, entry.listener);
      try {
        if (typeof entry.listener === "function") entry.listener.call(this, event);
        else entry.listener.handleEvent(event);
      } catch (error) {
        console.error(`Uncaught in a listener for "${event.type}"`, error);
      }
    }
    event.currentTarget = null;
    return !event.defaultPrevented;
  }
}

/** Only this module makes signals. */
const secret = Symbol("signal");
let abort;

export class AbortSignal extends EventTarget {
  #reason;
  onabort = null;

  static {
    abort = (signal, reason = new DOMException("The operation was aborted", "AbortError")) => {
      if (signal.aborted) return;
      signal.#reason = reason;
      const event = new Event("abort");
      signal.onabort?.(event);
      signal.dispatchEvent(event);
    };
  }

  constructor(key) {
    super();
    if (key !== secret) throw new TypeError("Illegal constructor");
  }

  get aborted() {
    return this.#reason !== undefined;
  }

  get reason() {
    return this.#reason;
  }

  throwIfAborted() {
    if (this.aborted) throw this.#reason;
  }

  static abort(reason) {
    const signal = new AbortSignal(secret);
    abort(signal, reason);
    return signal;
  }

  static timeout(milliseconds) {
    const signal = new AbortSignal(secret);
    timers.setTimeout(() => abort(signal, new DOMException("The operation timed out", "TimeoutError")), milliseconds);
    return signal;
  }

  static any(signals) {
    const all = [...signals];
    const signal = new AbortSignal(secret);
    const done = all.find(({ aborted }) => aborted);
    if (done) abort(signal, done.reason);
    else for (const each of all) each.addEventListener("abort", () => abort(signal, each.reason));
    return signal;
  }
}

export class AbortController {
  #signal = new AbortSignal(secret);

  get signal() {
    return this.#signal;
  }

  abort(reason) {
    abort(this.#signal, reason);
  }
}

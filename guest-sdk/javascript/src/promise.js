// `Promise` as ECMA-262 defines it, on the queue of `jobs.js`. The build turns `async` functions into generators that
// await these, so nothing of a class is ever left in the engine's own queue, which only the engine could run. A
// reaction runs in the section (`context.js`) of the code that asked for it.

import { current, enter } from "./context.js";
import { enqueue } from "./jobs.js";

/** Rejected promises without a handler. */
const unhandled = new Set();

/** In place of an executor: the promise is settled from inside this module. */
const bare = Symbol("bare");

/** A promise that is resolved with this value. */
let resolvedHere;

/** Runs an `async` function as the build has turned it into a generator, with its `this` and its arguments. */
let runAsync;

/** Of a reaction whose result matters to nothing. */
const NO_NEXT = { resolve() {}, reject() {} };

const PENDING = 0;
const FULFILLED = 1;
const REJECTED = 2;

export class Promise {
  #state = PENDING;
  #value;
  #reactions;
  #handled = false;

  constructor(executor) {
    if (executor === bare) return;
    if (typeof executor !== "function") throw new TypeError("Promise resolver is not a function");
    this.#follow(executor);
  }

  /** Be settled by a function that is given `resolve` and `reject`, of which the first call counts. */
  #follow(executor) {
    let called = false;
    const reject = (reason) => {
      if (called) return;
      called = true;
      this.#reject(reason);
    };
    const resolve = (value) => {
      if (called) return;
      called = true;
      this.#resolve(value);
    };
    try {
      executor(resolve, reject);
    } catch (error) {
      reject(error);
    }
  }

  #resolve(value) {
    if (value === null || (typeof value !== "object" && typeof value !== "function"))
      return this.#settle(FULFILLED, value);
    if (value === this) return this.#reject(new TypeError("a promise cannot be resolved with itself"));
    let then;
    try {
      then = value.then;
    } catch (error) {
      return this.#reject(error);
    }
    if (typeof then !== "function") return this.#settle(FULFILLED, value);
    const context = current;
    enqueue(() => {
      enter(context);
      this.#follow((resolve, reject) => then.call(value, resolve, reject));
    });
  }

  #reject(reason) {
    if (!this.#handled) unhandled.add(this);
    this.#settle(REJECTED, reason);
  }

  #settle(state, value) {
    this.#state = state;
    this.#value = value;
    const reactions = this.#reactions;
    this.#reactions = undefined;
    if (reactions) for (const reaction of reactions) enqueue(() => this.#react(reaction));
  }

  #react({ onFulfilled, onRejected, next, context }) {
    enter(context);
    const handler = this.#state === FULFILLED ? onFulfilled : onRejected;
    if (typeof handler !== "function") {
      return this.#state === FULFILLED ? next.resolve(this.#value) : next.reject(this.#value);
    }
    let result;
    try {
      result = handler(this.#value);
    } catch (error) {
      return next.reject(error);
    }
    next.resolve(result);
  }

  then(onFulfilled, onRejected) {
    const constructor = speciesOf(this);
    const next = constructor === Promise ? Promise.#next() : capability(constructor);
    this.#add({ onFulfilled, onRejected, next, context: current });
    return next.promise;
  }

  #add(reaction) {
    this.#handled = true;
    if (this.#state === REJECTED) unhandled.delete(this);
    if (this.#state === PENDING) (this.#reactions ??= []).push(reaction);
    else enqueue(() => this.#react(reaction));
  }

  /** As `capability`, for the most frequent case: with nothing that only other constructors need. */
  static #next() {
    const promise = new Promise(bare);
    return { promise, resolve: (value) => promise.#resolve(value), reject: (reason) => promise.#reject(reason) };
  }

  static {
    resolvedHere = (value) => {
      const promise = new Promise(bare);
      promise.#resolve(value);
      return promise;
    };
  }

  static {
    runAsync = (self, args, generator) => {
      const promise = new Promise(bare);
      let steps, result;
      try {
        steps = generator.apply(self, args);
        result = steps.next();
      } catch (error) {
        promise.#reject(error);
        return promise;
      }
      Promise.#goOn(promise, steps, result);
      return promise;
    };
  }

  /** Ends an `async` function, or has it go on when what it awaits has settled. */
  static #goOn(promise, steps, { done, value }) {
    if (done) return promise.#resolve(value);
    const step = (how) => (outcome) => {
      let result;
      try {
        result = steps[how](outcome);
      } catch (error) {
        return promise.#reject(error);
      }
      Promise.#goOn(promise, steps, result);
    };
    const reaction = { onFulfilled: step("next"), onRejected: step("throw"), next: NO_NEXT, context: current };
    resolved(Promise, value).#add(reaction);
  }

  catch(onRejected) {
    return this.then(undefined, onRejected);
  }

  finally(callback) {
    if (typeof callback !== "function") return this.then(callback, callback);
    const constructor = speciesOf(this);
    return this.then(
      (value) => resolved(constructor, callback()).then(() => value),
      (reason) =>
        resolved(constructor, callback()).then(() => {
          throw reason;
        }),
    );
  }

  static get [Symbol.species]() {
    return this;
  }

  static resolve(value) {
    return resolved(this, value);
  }

  static reject(reason) {
    const { promise, reject } = capability(this);
    reject(reason);
    return promise;
  }

  static withResolvers() {
    return capability(this);
  }

  static try(callback, ...args) {
    return new this((resolve) => resolve(callback(...args)));
  }

  static all(iterable) {
    return combine(this, iterable, (slots, index, done, reject) => [(value) => done((slots[index] = value)), reject]);
  }

  static allSettled(iterable) {
    return combine(this, iterable, (slots, index, done) => [
      (value) => done((slots[index] = { status: "fulfilled", value })),
      (reason) => done((slots[index] = { status: "rejected", reason })),
    ]);
  }

  static any(iterable) {
    const fail = (errors, _resolve, reject) => reject(new AggregateError(errors, "All promises were rejected"));
    const each = (slots, index, done, _reject, resolve) => [resolve, (reason) => done((slots[index] = reason))];
    return combine(this, iterable, each, fail);
  }

  static race(iterable) {
    return combine(
      this,
      iterable,
      (_slots, _index, _done, reject, resolve) => [resolve, reject],
      () => {},
    );
  }
}
// A bundler renames what is named like a global.
Object.defineProperty(Promise, "name", { value: "Promise", configurable: true });
Object.defineProperty(Promise.prototype, Symbol.toStringTag, { value: "Promise", configurable: true });

// In a component the build has every `async` function use this, in place of esbuild's own, which takes three times the
// stack.
if (typeof __useAsync === "function") __useAsync(runAsync);

/** A promise of what a function answers or throws, at once: an `async` function without its cost. */
export function promised(call) {
  try {
    return resolvedHere(call());
  } catch (error) {
    return Promise.reject(error);
  }
}

/** Promises rejected without a handler since the last call. */
export function takeUnhandled(report) {
  const promises = [...unhandled];
  unhandled.clear();
  for (const promise of promises) promise.then(undefined, report);
}

function speciesOf(promise) {
  return promise.constructor?.[Symbol.species] ?? Promise;
}

function capability(constructor) {
  let resolve, reject;
  const promise = new constructor((...functions) => ([resolve, reject] = functions));
  return { promise, resolve, reject };
}

function resolved(constructor, value) {
  if (value instanceof Promise && value.constructor === constructor) return value;
  if (constructor === Promise) return resolvedHere(value);
  const { promise, resolve } = capability(constructor);
  resolve(value);
  return promise;
}

/**
 * What `all`, `allSettled`, `any` and `race` have in common: a slot for each promise, and an end when all are filled.
 */
function combine(constructor, iterable, handlers, finish = (slots, resolve) => resolve(slots)) {
  const { promise, resolve, reject } = capability(constructor);
  try {
    const slots = [];
    let waiting = 1;
    const done = () => --waiting === 0 && finish(slots, resolve, reject);
    let index = 0;
    for (const item of iterable) {
      slots.push(undefined);
      waiting += 1;
      constructor.resolve(item).then(...handlers(slots, index++, done, reject, resolve));
    }
    done();
  } catch (error) {
    reject(error);
  }
  return promise;
}

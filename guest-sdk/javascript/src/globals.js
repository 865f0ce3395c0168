// Puts the web's globals in place, and those that Durable Objects know. Imported before the class.

import { enqueue, addTimer, removeTimer } from "./jobs.js";
import { Promise } from "./promise.js";
import { deserialize, serialize } from "./serialize.js";
import { WebSocket, WebSocketPair, WebSocketRequestResponsePair } from "./websocket.js";
import { console } from "./web/console.js";
import { crypto, makeRandom } from "./web/crypto.js";
import { AbortController, AbortSignal, CustomEvent, Event, EventTarget } from "./web/events.js";
import { Headers } from "./web/headers.js";
import { Request, Response } from "./web/message.js";
import { TextDecoder, TextEncoder } from "./web/text.js";
import { URL, URLSearchParams } from "./web/url.js";

let origin = 0;

/** The function, with what it throws in the log: nobody else is there to catch it. */
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

const globals = {
  AbortController,
  AbortSignal,
  console,
  crypto,
  CustomEvent,
  Event,
  EventTarget,
  Headers,
  performance: {
    get timeOrigin() {
      return origin;
    },
    now: () => Date.now() - origin,
  },
  Promise,
  Request,
  Response,
  TextDecoder,
  TextEncoder,
  URL,
  URLSearchParams,
  WebSocket,
  WebSocketPair,
  WebSocketRequestResponsePair,
  clearInterval: removeTimer,
  clearTimeout: removeTimer,
  fetch: async () => {
    throw new TypeError("fetch() is not there: an object of this host makes no requests of its own");
  },
  queueMicrotask: (callback) => enqueue(reporting("a microtask", callback)),
  self: globalThis,
  setInterval: (callback, delay, ...args) => addTimer(reporting("a timer", callback), delay, args, true),
  setTimeout: (callback, delay, ...args) => addTimer(reporting("a timer", callback), delay, args, false),
  structuredClone: (value) => deserialize(serialize(value)),
};
for (const [name, value] of Object.entries(globals)) {
  Object.defineProperty(globalThis, name, { value, writable: true, configurable: true });
}

// These would make promises of the engine's own, which nobody runs.
delete globalThis.AsyncDisposableStack;
Object.defineProperty(Array, "fromAsync", {
  value: async function fromAsync(items, map = (item) => item) {
    const array = [];
    const iterable = items[Symbol.asyncIterator] || items[Symbol.iterator] ? items : Array.from(items);
    for await (const item of iterable) array.push(await map(item, array.length));
    return array;
  },
  writable: true,
  configurable: true,
});

export { makeRandom };

/** The clock starts with the instance's first turn: before that there was only the build. */
export function startClock() {
  origin = Date.now();
}

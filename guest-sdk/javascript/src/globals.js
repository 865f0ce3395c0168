// Puts the web's globals in place, and those that Durable Objects know. Imported before the class.

import { Promise } from "./promise.js";
import { deserialize, serialize } from "./serialize.js";
import { install } from "./stack.js";
import { WebSocket, WebSocketPair, WebSocketRequestResponsePair } from "./websocket.js";
import { console } from "./web/console.js";
import { crypto, makeRandom } from "./web/crypto.js";
import {
  AbortController,
  AbortSignal,
  CloseEvent,
  CustomEvent,
  ErrorEvent,
  Event,
  EventTarget,
  MessageEvent,
} from "./web/events.js";
import { Headers } from "./web/headers.js";
import { Request, Response } from "./web/message.js";
import { performance, startClock } from "./web/performance.js";
import { TextDecoder, TextEncoder } from "./web/text.js";
import { timers } from "./web/timers.js";
import { URL, URLSearchParams } from "./web/url.js";

const globals = {
  AbortController,
  AbortSignal,
  CloseEvent,
  console,
  crypto,
  CustomEvent,
  ErrorEvent,
  Event,
  EventTarget,
  Headers,
  MessageEvent,
  performance,
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
  fetch: async () => {
    throw new TypeError("fetch() is not there: an object of this host makes no requests of its own");
  },
  self: globalThis,
  structuredClone: (value) => deserialize(serialize(value)),
  ...timers,
};
for (const [name, value] of Object.entries(globals)) {
  Object.defineProperty(globalThis, name, { value, writable: true, configurable: true });
}

install();

// These would make promises of the engine's own, whose jobs are never run.
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

export { makeRandom, startClock };

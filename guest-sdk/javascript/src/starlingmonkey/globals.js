// In place of `src/globals.js`: this engine has the web's globals. Added is what Durable Objects know beside them, messages without what
// an object may not set elsewhere, such as the header `upgrade`, and what has timers, which must end with the turn.

import { WebSocket, WebSocketPair, WebSocketRequestResponsePair } from "../websocket.js";
import { console } from "../web/console.js";
import { crypto, makeRandom } from "../web/crypto.js";
import {
  AbortController,
  AbortSignal,
  CloseEvent,
  CustomEvent,
  ErrorEvent,
  Event,
  EventTarget,
  MessageEvent,
} from "../web/events.js";
import { Headers } from "../web/headers.js";
import { Request, Response } from "../web/message.js";
import { performance, startClock } from "../web/performance.js";
import { timers } from "../web/timers.js";
import { URL, URLSearchParams } from "../web/url.js";

// The engine's own random values are the host's, and end the build when the class's module asks for one. So does its clock.
Math.random = makeRandom([1, 2, 3, 4]);
const { subtle } = globalThis.crypto;
const { importKey } = subtle;
// Keys of other kinds need random values that the engine's library for cryptography has no way to, and trap; those of other formats are
// read as keys that they are not.
subtle.importKey = async (format, key, algorithm, ...rest) => {
  const name = algorithm?.name ?? algorithm;
  if (format !== "raw" || String(name).toUpperCase() !== "HMAC")
    throw new DOMException(`there are raw keys for HMAC only, no ${format} keys for ${name}`, "NotSupportedError");
  return importKey.call(subtle, format, key, algorithm, ...rest);
};
Object.defineProperty(crypto, "subtle", { value: subtle });

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
  Request,
  Response,
  URL,
  URLSearchParams,
  WebSocket,
  WebSocketPair,
  WebSocketRequestResponsePair,
  fetch: async () => {
    throw new TypeError("fetch() is not there: an object of this host makes no requests of its own");
  },
  ...timers,
};
for (const [name, value] of Object.entries(globals)) {
  Object.defineProperty(globalThis, name, { value, writable: true, configurable: true });
}

export { makeRandom, startClock };

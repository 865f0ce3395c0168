// In place of `src/globals.js`: this engine has the web's globals. Added is what Durable Objects know beside them,
// and messages without what an object may not set elsewhere, such as the header `upgrade`.

import { WebSocket, WebSocketPair, WebSocketRequestResponsePair } from "../websocket.js";
import { console } from "../web/console.js";
import { Headers } from "../web/headers.js";
import { Request, Response } from "../web/message.js";
import { URL, URLSearchParams } from "../web/url.js";

const globals = {
  console,
  Headers,
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
};
for (const [name, value] of Object.entries(globals)) {
  Object.defineProperty(globalThis, name, { value, writable: true, configurable: true });
}

export function startClock() {}

/** The engine's own is seeded by the host. */
export const makeRandom = () => Math.random;

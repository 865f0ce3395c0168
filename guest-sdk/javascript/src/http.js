// Requests and responses between the contract's records and the web's classes.

import { fromLatin1, toLatin1 } from "./bytes.js";
import { Headers } from "./web/headers.js";
import { Arrival, Request, Response, takeBody } from "./web/message.js";
import { isAccepted } from "./websocket.js";

export function toRequest({ method, uri, headers, body }) {
  const header = (name) => {
    const found = headers.find(([key]) => key === name);
    return found && toLatin1(found[1]);
  };
  const scheme = header("x-forwarded-proto") === "https" ? "https" : "http";
  const url = `${scheme}://${header("host") ?? "object"}${uri}`;
  const make = () => new Headers(headers.map(([name, value]) => [name, toLatin1(value)]));
  return new Request(new Arrival(method, url, make, body));
}

export function toRecord(response) {
  if (!(response instanceof Response)) {
    throw new TypeError("Incorrect type for Promise: the Promise did not resolve to 'Response'.");
  }
  if (response.status === 101 && !isAccepted(response.webSocket)) {
    throw new TypeError("the WebSocket of the response was not accepted with ctx.acceptWebSocket()");
  }
  const headers = [];
  for (const [name, value] of response.headers) headers.push([name, fromLatin1(value)]);
  return { status: response.status, headers, body: takeBody(response) ?? new Uint8Array() };
}

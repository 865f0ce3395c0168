// Requests and responses between the contract's records and the web's classes.

import { fromLatin1, toLatin1 } from "./bytes.js";
import { count } from "./memory.js";
import { Headers } from "./web/headers.js";
import { Arrival, Request, Response, takeBody } from "./web/message.js";
import { mustBeAccepted } from "./websocket.js";

export function toRequest({ method, uri, headers, body }) {
  const header = (name) => {
    const found = headers.find(([key]) => key === name);
    return found && toLatin1(found[1]);
  };
  const scheme = header("x-forwarded-proto") === "https" ? "https" : "http";
  const url = `${scheme}://${header("host") ?? "object"}${uri}`;
  count(body.length);
  const make = () => new Headers(headers.map(([name, value]) => [name, toLatin1(value)]));
  return new Request(new Arrival(method, url, make, body));
}

export function toRecord(response) {
  if (!(response instanceof Response)) {
    throw new TypeError("Incorrect type for Promise: the Promise did not resolve to 'Response'.");
  }
  const { status, webSocket } = response;
  // A class of its own can say anything.
  if (!Number.isInteger(status) || status < 0 || status > 65535) throw new RangeError("the response has no status");
  if (status === 101) mustBeAccepted(webSocket);
  const headers = [];
  for (const [name, value] of new Headers(response.headers)) headers.push([name, fromLatin1(value)]);
  return { status, headers, body: takeBody(response) ?? new Uint8Array() };
}

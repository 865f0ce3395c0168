// In place of `src/http.js`: this engine has requests and responses of its own, with streams. Only 101 is not among them.

import { fromLatin1, toLatin1 } from "../bytes.js";
import { isAccepted } from "../websocket.js";

const NativeResponse = globalThis.Response;

export class Response extends NativeResponse {
  #webSocket;

  constructor(body = null, { webSocket = null, status = 200, ...init } = {}) {
    super(body, { ...init, status: webSocket ? 200 : status });
    this.#webSocket = webSocket;
  }

  get status() {
    return this.#webSocket ? 101 : super.status;
  }

  get webSocket() {
    return this.#webSocket;
  }
}

export function toRequest({ method, uri, headers, body }) {
  const list = headers.map(([name, value]) => [name, toLatin1(value)]);
  const header = (name) => list.find(([key]) => key === name)?.[1];
  const scheme = header("x-forwarded-proto") === "https" ? "https" : "http";
  const init = { method, headers: list, body: body.length > 0 ? body : undefined };
  return new Request(`${scheme}://${header("host") ?? "object"}${uri}`, init);
}

export async function toRecord(response) {
  if (!(response instanceof NativeResponse)) {
    throw new TypeError("Incorrect type for Promise: the Promise did not resolve to 'Response'.");
  }
  if (response.status === 101 && !isAccepted(response.webSocket)) {
    throw new TypeError("the WebSocket of the response was not accepted with ctx.acceptWebSocket()");
  }
  const headers = Array.from(response.headers, ([name, value]) => [name, fromLatin1(value)]);
  return { status: response.status, headers, body: new Uint8Array(await response.arrayBuffer()) };
}

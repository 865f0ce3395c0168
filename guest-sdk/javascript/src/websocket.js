// WebSockets. The host owns them; a `WebSocket` here is a name for one. It is the same object as long as the instance lives, and
// a new one after that, with nothing but its tags and its attachment.

import websockets from "holdfast:object/websockets@0.2.0";

import { bytesOf } from "./bytes.js";
import { ClassError, hostOf } from "./errors.js";
import { deserialize, hostObject, serialize } from "./serialize.js";

const host = hostOf("websocket-error");

const STATES = { CONNECTING: 0, OPEN: 1, CLOSING: 2, CLOSED: 3 };

/** Only this module makes sockets. */
const secret = Symbol("socket");

/** The sockets that this instance has seen, by the host's id. */
const known = new Map();

/** Have the server's half of a pair stand for the WebSocket that the turn's request asks for. */
export let accept;
/** Whether this is the client's half of a pair whose other half was accepted. */
export let isAccepted;
/** The `WebSocket` of the host's id. */
export let socketOf;
/** The host's id of a socket. */
export let idOf;
/** The connection is over: nothing more can be sent. */
export let markClosed;

export class WebSocket {
  #id;
  #peer;
  #state = STATES.CONNECTING;

  static {
    accept = (socket, tags) => {
      if (!(socket instanceof WebSocket) || socket.#id !== undefined)
        throw new TypeError("only a new WebSocket can be accepted");
      socket.#open(host(websockets.accept, tags));
    };
    isAccepted = (socket) => socket instanceof WebSocket && socket.#peer?.#id !== undefined;
    socketOf = (id) => known.get(id) ?? new WebSocket(secret).#open(id);
    idOf = (socket) => {
      if (socket.#id === undefined) throw new TypeError("the WebSocket was not accepted with acceptWebSocket()");
      return socket.#id;
    };
    markClosed = (socket) => (socket.#state = STATES.CLOSED);
  }

  constructor(key, peer) {
    if (key !== secret) throw new TypeError("an object of this host makes no WebSocket connections of its own");
    this.#peer = peer;
  }

  #open(id) {
    this.#id = id;
    this.#state = STATES.OPEN;
    known.set(id, this);
    return this;
  }

  get readyState() {
    return this.#state;
  }

  send(message) {
    host(websockets.send, idOf(this), toMessage(message));
  }

  /** Close the connection. Nothing happens if it is closing already. */
  close(code, reason = "") {
    if (this.#state >= STATES.CLOSING) return;
    try {
      host(websockets.close, idOf(this), code ?? null, String(reason).toWellFormed());
    } catch (error) {
      if (!(error instanceof ClassError) || !["closing", "unknown-socket"].includes(error.code)) throw error;
    }
    this.#state = STATES.CLOSING;
  }

  /** Keep a structured value of at most 16,384 bytes with the socket, whether or not the object stays in memory. */
  serializeAttachment(value) {
    host(websockets.setAttachment, idOf(this), serialize(value));
  }

  deserializeAttachment() {
    const bytes = host(websockets.attachment, idOf(this));
    return bytes === null ? null : deserialize(bytes);
  }

  accept() {
    throw new TypeError("accept() keeps the object in memory, which this host does not; use ctx.acceptWebSocket()");
  }

  addEventListener() {
    throw new TypeError(
      "events of WebSockets come to the class's webSocketMessage(), webSocketClose() and webSocketError()",
    );
  }
}
WebSocket.prototype[hostObject] = true;
for (const [name, value] of Object.entries(STATES)) {
  for (const place of [WebSocket, WebSocket.prototype]) place[name] = place[`READY_STATE_${name}`] = value;
}

/** Two ends of one connection: `0` for the client, in the response; `1` for the object, to accept. */
export class WebSocketPair {
  constructor() {
    this[1] = new WebSocket(secret);
    this[0] = new WebSocket(secret, this[1]);
  }
}

/** What the host answers in the object's place: at most 2,048 bytes each. */
export class WebSocketRequestResponsePair {
  #request;
  #response;

  constructor(request, response) {
    this.#request = String(request).toWellFormed();
    this.#response = String(response).toWellFormed();
  }

  get request() {
    return this.#request;
  }

  get response() {
    return this.#response;
  }
}

/** Forget a socket after its last event. */
export function forgetSocket(id) {
  known.delete(id);
}

/** A message as the host takes it. */
export function toMessage(message) {
  const bytes = bytesOf(message);
  return bytes ? { tag: "binary", val: bytes } : { tag: "text", val: String(message).toWellFormed() };
}

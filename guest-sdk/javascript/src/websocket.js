// WebSockets. The host owns them; a `WebSocket` here is a name for one. It is the same object as long as the instance
// lives, and a new one after that, with nothing but its tags and its attachment.

import websockets from "holdfast:object/websockets@0.2.0";

import { mistyped, text } from "./arguments.js";
import { bytesOf, fromText } from "./bytes.js";
import { hostOf, refusal } from "./errors.js";
import { deserialize, hostObject, serialize } from "./serialize.js";

const host = hostOf("websocket-error");

/** The tag of sockets that were opened with `accept()`: it says so when the instance is another one, too. */
const FOR_TURN = "\0accept";

/** Bytes of the reason of a close frame. */
const REASON_MAX = 123;

const STATES = { CONNECTING: 0, OPEN: 1, CLOSING: 2, CLOSED: 3 };

/** Only this module makes sockets. */
const secret = Symbol("socket");

/** The sockets that this instance has seen, by the host's id. */
const known = new Map();

/** Have the server's half of a pair stand for the WebSocket that the turn's request asks for. */
export let accept;
/** Refuses what is not the client's half of a pair whose other half was accepted, and can be left to the host. */
export let mustStayOpen;
/** Whether a socket was opened with `accept()`. */
export let isForTurn;
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
  /** What is attached before the host knows the socket. */
  #attachment = null;
  /** Whether it was opened with `accept()`. */
  #isForTurn = false;

  static {
    accept = (socket, tags) => {
      if (socket.#id !== undefined)
        throw new Error("Cannot call `acceptWebSocket()` if the WebSocket was already accepted via `accept()`");
      socket.#open(host(websockets.accept, tags));
      if (socket.#attachment !== null) host(websockets.setAttachment, socket.#id, socket.#attachment);
    };
    mustStayOpen = (socket) => {
      const server = socket instanceof WebSocket ? socket.#peer : undefined;
      if (server?.#id === undefined)
        throw new TypeError("the WebSocket of the response was not accepted with ctx.acceptWebSocket()");
      if (server.#isForTurn && server.#state === STATES.OPEN)
        throw new TypeError(
          "accept() keeps the object in memory for the socket's events, which this host does not; use ctx.acceptWebSocket()",
        );
    };
    isForTurn = (socket) => socket.#isForTurn;
    socketOf = (id) => known.get(id) ?? new WebSocket(secret).#open(id);
    idOf = (socket) => {
      if (socket.#id === undefined)
        throw new TypeError(
          "You must call one of accept() or state.acceptWebSocket() on this WebSocket before sending messages.",
        );
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

  send(...messages) {
    if (messages.length === 0) throw mistyped("send", "WebSocket", 1, "ArrayBuffer or ArrayBufferView or string");
    const message = toMessage(messages[0]);
    host(websockets.send, idOf(this), message);
  }

  /** Close the connection. Nothing happens if it is closing already. */
  close(code, reason) {
    const [status, words] = closing(code, reason);
    if (this.#state >= STATES.CLOSING) return;
    try {
      host(websockets.close, idOf(this), status, words);
    } catch (error) {
      if (!["closing", "unknown-socket"].includes(error.code)) throw error;
    }
    this.#state = STATES.CLOSING;
  }

  /** Keep a structured value of at most 16,384 bytes with the socket, whether or not the object stays in memory. */
  serializeAttachment(...values) {
    if (values.length === 0) throw mistyped("serializeAttachment", "WebSocket", 1, "Value");
    const bytes = serialize(values[0]);
    if (this.#id === undefined) this.#attachment = bytes;
    else host(websockets.setAttachment, this.#id, bytes);
  }

  deserializeAttachment() {
    const bytes = this.#id === undefined ? this.#attachment : host(websockets.attachment, this.#id);
    return bytes === null ? null : deserialize(bytes);
  }

  /**
   * Open the socket for the rest of the turn: to send, for example, an error, and to close it. No handler is called for
   * it.
   */
  accept() {
    if (this.#id !== undefined) throw new TypeError("the WebSocket was accepted already");
    this.#isForTurn = true;
    accept(this, [FOR_TURN]);
  }

  /**
   * Here because programs call it. As on Durable Objects, events of accepted sockets come to the class's handlers
   * instead.
   */
  addEventListener() {}

  removeEventListener() {}
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

/** The parts of a pair, as the host takes them. */
export let partsOf;

/** What the host answers in the object's place: at most 2,048 bytes each. */
export class WebSocketRequestResponsePair {
  #request;
  #response;

  static {
    partsOf = (pair) => ({ request: pair.#request, response: pair.#response });
  }

  constructor(...parts) {
    for (const position of [1, 2])
      if (parts[position - 1] === undefined)
        throw new TypeError(
          `Failed to construct 'WebSocketRequestResponsePair': constructor parameter ${position} is not of type 'string'.`,
        );
    [this.#request, this.#response] = parts.map(text);
  }

  get request() {
    return this.#request;
  }

  get response() {
    return this.#response;
  }
}

/**
 * Whether the host's socket of this id has no handlers, because it was opened with `accept()`, by this instance or
 * another one.
 */
export function hasNoHandlers(id) {
  return host(websockets.tags, id).includes(FOR_TURN);
}

/** A tag as the host takes it, which knows no empty ones. */
export function toTag(tag) {
  return text(tag) || "\0";
}

/** A tag as the class knows it. */
export function fromTag(tag) {
  return tag === "\0" ? "" : tag;
}

/** Forget a socket after its last event. */
export function forgetSocket(id) {
  known.delete(id);
}

/** A message as the host takes it. */
export function toMessage(message) {
  const bytes = bytesOf(message);
  return bytes ? { tag: "binary", val: bytes } : { tag: "text", val: text(message) };
}

/** The code and the reason of a close frame, as the host takes them. It says which codes are allowed. */
function closing(code, reason) {
  if (code === undefined) {
    if (reason !== undefined)
      throw new DOMException(
        "If you specify a WebSocket close reason, you must also specify a code.",
        "InvalidAccessError",
      );
    return [null, ""];
  }
  // As for a parameter that is an integer: `close("x")` is `close(0)`.
  const status = Math.trunc(+code) || 0;
  if (status < 0 || status > 65535) throw refusal("websocket-error", "bad-code", status);
  const words = reason === undefined ? "" : text(reason);
  const size = fromText(words).length;
  if (size > REASON_MAX) {
    const message = `WebSocket close reason must not be longer than ${REASON_MAX} bytes when UTF-8 encoded.`;
    const make = (text) => new DOMException(text, "SyntaxError");
    throw refusal("websocket-error", "too-large", { size, limit: REASON_MAX }, message, make);
  }
  return [status, words];
}

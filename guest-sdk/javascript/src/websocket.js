// WebSockets. The host owns them; a `WebSocket` here is a name for one. It is the same object as long as the instance
// lives, and a new one after that, with nothing but its tags and its attachment. Those that are opened with `accept()`
// have listeners in the instance's memory, so they hold it, and are closed when it is dropped.
//
// A handler that is suspended opens its socket when it answers (`turn.js`). Until then the host knows nothing of it, so
// what is done with it waits here.

import later from "holdfast:object/later@0.2.0";
import websockets from "holdfast:object/websockets@0.2.0";

import { mistyped, text } from "./arguments.js";
import { bytesOf, fromText } from "./bytes.js";
import { current } from "./context.js";
import { hostOf, refusal } from "./errors.js";
import { deserialize, hostObject, serialize } from "./serialize.js";
import { CloseEvent, ErrorEvent, EventTarget, MessageEvent } from "./web/events.js";

const host = hostOf("websocket-error");

/** The tag of sockets that were opened with `accept()`: it says so when the instance is another one, too. */
const WITH_LISTENERS = "\0accept";

/** Bytes of the reason of a close frame. */
const REASON_MAX = 123;

const STATES = { CONNECTING: 0, OPEN: 1, CLOSING: 2, CLOSED: 3 };

/** Only this module makes sockets. */
const secret = Symbol("socket");

/** The sockets that this instance has seen, by the host's id. */
const known = new Map();
/** The sockets of suspended handlers that were accepted and are not open yet. */
const pending = new Set();

/** Have the server's half of a pair stand for the WebSocket that the handler's request asks for. */
export let accept;
/** Refuses what is not the client's half of a pair whose other half was accepted. */
export let mustBeAccepted;
/** Whether a socket was opened with `accept()`. */
export let hasListeners;
/** The sockets with this tag, or all, that were accepted by suspended handlers. */
export let pendingSockets;
/** The tags of a socket, as the host has them, if it is one of those. */
export let attachedTags;
/** The `WebSocket` of the host's id. */
export let socketOf;
/** The host's id of a socket. */
export let idOf;
/** The connection is over: nothing more can be sent. */
export let markClosed;

export class WebSocket extends EventTarget {
  #id;
  #peer;
  #state = STATES.CONNECTING;
  /** What is attached while the host does not know the socket. */
  #attachment = null;
  /** Whether it was opened with `accept()`. */
  #hasListeners = false;
  /** The handler whose answer opens it, until it is answered. */
  #handler;
  #tags = [];
  /** What is done with it once it is open. */
  #waiting = [];

  static {
    accept = (socket, tags) => {
      if (socket.#id !== undefined)
        throw new Error("Cannot call `acceptWebSocket()` if the WebSocket was already accepted via `accept()`");
      socket.#accept(tags);
    };
    mustBeAccepted = (socket) => {
      const server = socket instanceof WebSocket ? socket.#peer : undefined;
      if (server?.#id === undefined)
        throw new TypeError(
          "the WebSocket of the response was accepted neither with ctx.acceptWebSocket() nor with accept()",
        );
    };
    hasListeners = (socket) => socket.#hasListeners;
    pendingSockets = (tag) =>
      [...pending].filter((socket) => socket.#isPending && socket.#state === STATES.OPEN && socket.#has(tag));
    attachedTags = (socket) => (socket.#isPending ? socket.#tags : undefined);
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
    super();
    if (key !== secret) throw new TypeError("an object of this host makes no WebSocket connections of its own");
    this.#peer = peer;
  }

  #open(id) {
    this.#id = id;
    this.#state = STATES.OPEN;
    known.set(id, this);
    return this;
  }

  /** Whether the host knows it only when the handler is answered that is suspended. */
  get #isPending() {
    return this.#handler?.token !== undefined;
  }

  #accept(tags) {
    const handler = current?.handler;
    // The turn may be about another request.
    if (handler?.isOver) throw refusal("websocket-error", "not-an-upgrade");
    const isSuspended = handler?.token !== undefined;
    this.#open(isSuspended ? host(later.accept, handler.token, tags) : host(websockets.accept, tags));
    if (!isSuspended && this.#attachment !== null) host(websockets.setAttachment, this.#id, this.#attachment);
    if (!isSuspended && this.#hasListeners) host(later.holdFor, this.#id);
    if (handler === undefined) return;
    this.#handler = handler;
    this.#tags = [...new Set(tags)].sort();
    pending.add(this);
    handler.whenAnswered = (opens) => this.#answered(opens);
  }

  /** The handler is answered: the host knows the socket from now on, or never. */
  #answered(opens) {
    const wasPending = this.#isPending;
    this.#handler = undefined;
    pending.delete(this);
    const waiting = this.#waiting.splice(0);
    if (!opens) {
      this.#state = STATES.CLOSED;
      known.delete(this.#id);
    } else if (wasPending) {
      try {
        if (this.#attachment !== null) host(websockets.setAttachment, this.#id, this.#attachment);
        if (this.#hasListeners) host(later.holdFor, this.#id);
        for (const act of waiting) act();
      } catch (error) {
        // The response was not valid; its caller gets that error.
        if (error.code !== "unknown-socket" && error.code !== "other") throw error;
        this.#state = STATES.CLOSED;
      }
    }
  }

  #has(tag) {
    return tag === undefined || this.#tags.includes(toTag(tag));
  }

  /** Do something with the socket in the host, once it is open. */
  #act(act) {
    if (this.#isPending) this.#waiting.push(act);
    else act();
  }

  get readyState() {
    return this.#state;
  }

  /** What a message of bytes is, for listeners: never a `Blob`. */
  get binaryType() {
    return "arraybuffer";
  }

  set binaryType(_) {}

  send(...messages) {
    if (messages.length === 0) throw mistyped("send", "WebSocket", 1, "ArrayBuffer or ArrayBufferView or string");
    const id = idOf(this);
    // What the host would say of a socket that it does not know yet.
    if (this.#isPending && this.#state !== STATES.OPEN) throw refusal("websocket-error", "closing");
    const message = toMessage(messages[0]);
    // The bytes may be changed before they are sent.
    if (this.#isPending && message.tag === "binary") message.val = message.val.slice();
    this.#act(() => host(websockets.send, id, message));
  }

  /** Close the connection. Nothing happens if it is closing already. */
  close(code, reason) {
    const [status, words] = closing(code, reason);
    if (this.#state >= STATES.CLOSING) return;
    const id = idOf(this);
    this.#act(() => {
      try {
        host(websockets.close, id, status, words);
      } catch (error) {
        if (!["closing", "unknown-socket"].includes(error.code)) throw error;
      }
    });
    this.#state = STATES.CLOSING;
  }

  /** Keep a structured value of at most 16,384 bytes with the socket, whether or not the object stays in memory. */
  serializeAttachment(...values) {
    if (values.length === 0) throw mistyped("serializeAttachment", "WebSocket", 1, "Value");
    const bytes = serialize(values[0]);
    const isKnown = this.#id !== undefined && !this.#isPending;
    if (isKnown) host(websockets.setAttachment, this.#id, bytes);
    // A handler that is not answered yet may still be suspended.
    if (!isKnown || this.#handler !== undefined) this.#attachment = bytes;
  }

  deserializeAttachment() {
    const isKnown = this.#id !== undefined && !this.#isPending;
    const bytes = isKnown ? host(websockets.attachment, this.#id) : this.#attachment;
    return bytes === null ? null : deserialize(bytes);
  }

  /**
   * Open the socket for the listeners that are added to it. It holds the instance in memory while it is open; if the
   * instance is dropped nevertheless, it is closed with code 1012. `ctx.acceptWebSocket()` opens it for the class's
   * handlers instead.
   */
  accept() {
    if (this.#id !== undefined) throw new TypeError("the WebSocket was accepted already");
    this.#hasListeners = true;
    accept(this, [WITH_LISTENERS]);
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

/** Whether the host's socket of this id was opened with `accept()`, by this instance or another one. */
export function isForListeners(id) {
  return host(websockets.tags, id).includes(WITH_LISTENERS);
}

/** Has the listeners of a socket called with an event. */
export const dispatch = {
  message: (socket, data) => socket.dispatchEvent(new MessageEvent("message", { data })),
  close: (socket, code, reason, wasClean) =>
    socket.dispatchEvent(new CloseEvent("close", { code, reason, wasClean })),
  error: (socket, error) => socket.dispatchEvent(new ErrorEvent("error", { error, message: error.message })),
};

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

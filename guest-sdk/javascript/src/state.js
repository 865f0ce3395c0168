// `ctx`: the object's own data and what it can ask of the host, beside storage.

import identity from "holdfast:object/identity@0.2.0";
import websockets from "holdfast:object/websockets@0.2.0";

import { ClassError, hostOf } from "./errors.js";
import { Promise } from "./promise.js";
import { DurableObjectStorage } from "./storage.js";
import { doom, waitUntil } from "./turn.js";
import { WebSocketRequestResponsePair, accept, idOf, socketOf, toMessage } from "./websocket.js";

const host = hostOf("websocket-error");

class DurableObjectId {
  #id = identity.id();

  /** 64 lowercase hexadecimal digits. */
  toString() {
    return this.#id;
  }

  /** The name that the object was reached by; undefined for an object with a unique id. */
  get name() {
    return identity.name() ?? undefined;
  }

  equals(other) {
    return String(other) === this.#id;
  }
}

/** What the constructor has given to `blockConcurrencyWhile`; undefined after it. */
let blocking = [];

/** Settles when the first handler may run. */
export function unblocked() {
  const pending = blocking;
  blocking = undefined;
  return Promise.all(pending);
}

export class DurableObjectState {
  #id = new DurableObjectId();
  #storage = new DurableObjectStorage();

  get id() {
    return this.#id;
  }

  /** The name of the object's class. Not in Durable Objects. */
  get className() {
    return identity.class();
  }

  get storage() {
    return this.#storage;
  }

  /** Keep the turn, and with it the answer, waiting for a promise. */
  waitUntil(promise) {
    waitUntil(promise);
  }

  /** Run a callback. Nothing else can come in between anyway; in the constructor, the first handler waits for it. If it fails, so does the turn. */
  blockConcurrencyWhile(callback) {
    const done = Promise.try(callback);
    const settled = done.catch(doom);
    if (blocking) blocking.push(settled);
    else waitUntil(settled);
    return done;
  }

  /** Accept the WebSocket that this turn's request asks for, with up to 10 tags of at most 256 bytes. */
  acceptWebSocket(socket, tags = []) {
    accept(
      socket,
      tags.map((tag) => String(tag).toWellFormed()),
    );
  }

  /** The open sockets with this tag, or all of them, oldest first. */
  getWebSockets(tag) {
    return host(websockets.sockets, tag === undefined ? null : String(tag).toWellFormed()).map(socketOf);
  }

  getTags(socket) {
    return host(websockets.tags, idOf(socket));
  }

  /** Send one message to all open sockets with this tag, or to all of them. Not in Durable Objects; answers how many there are. */
  broadcast(message, tag) {
    return host(websockets.broadcast, tag === undefined ? null : String(tag).toWellFormed(), toMessage(message));
  }

  setWebSocketAutoResponse(pair) {
    host(websockets.setAutoResponse, pair ? { request: pair.request, response: pair.response } : null);
  }

  getWebSocketAutoResponse() {
    const pair = host(websockets.autoResponse);
    return pair === null ? null : new WebSocketRequestResponsePair(pair.request, pair.response);
  }

  getWebSocketAutoResponseTimestamp(socket) {
    const time = host(websockets.autoResponseTime, idOf(socket));
    return time === null ? null : new Date(time);
  }

  /** Here because Durable Objects have it. A handler's time is limited by the host's settings. */
  setHibernatableWebSocketEventTimeout() {}

  getHibernatableWebSocketEventTimeout() {
    return null;
  }

  /** Fail the turn: nothing that it wrote remains, and the next one begins with a new instance. */
  abort(reason) {
    throw doom(
      reason instanceof Error
        ? reason
        : new ClassError("aborted", reason === undefined ? "the object was aborted" : String(reason)),
    );
  }
}

// `ctx`: the object's own data and what it can ask of the host, beside storage.

import identity from "holdfast:object/identity@0.2.0";
import websockets from "holdfast:object/websockets@0.2.0";

import { callable, mistyped } from "./arguments.js";
import { ClassError, hostOf } from "./errors.js";
import { Promise, promised } from "./promise.js";
import { section } from "./sections.js";
import { DurableObjectStorage } from "./storage.js";
import { breakWith, doom, waitUntil } from "./turn.js";
import {
  WebSocket,
  WebSocketRequestResponsePair,
  accept,
  attachedTags,
  fromTag,
  hasListeners,
  idOf,
  partsOf,
  pendingSockets,
  socketOf,
  toMessage,
  toTag,
} from "./websocket.js";

const host = hostOf("websocket-error");

/** What workerd calls the class below in its errors. */
const STATE = "DurableObjectState";

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
    if (!(other instanceof DurableObjectId)) throw mistyped("equals", "DurableObjectId", 1, "DurableObjectId");
    return other.#id === this.#id;
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
  #timeout = null;

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

  /**
   * Have the rejection of a promise logged. The answer does not wait for it, unless the class is deployed with
   * `interleave = false`.
   */
  waitUntil(...promises) {
    if (promises.length === 0) throw mistyped("waitUntil", STATE, 1, "Promise");
    waitUntil(promises[0]);
  }

  /**
   * Run a callback, and no event, timer or transaction outside of it meanwhile, for at most 30 s. In the constructor,
   * the first handler waits for it. If it fails, the next turn begins with a new instance.
   */
  blockConcurrencyWhile(callback) {
    return promised(() => {
      const done = section(callable(callback, "blockConcurrencyWhile", STATE), true);
      const settled = done.catch(breakWith);
      if (blocking) blocking.push(done);
      else waitUntil(settled);
      return done;
    });
  }

  /** Accept the WebSocket that the handler's request asks for, with up to 10 tags of at most 256 bytes. */
  acceptWebSocket(socket, tags = []) {
    checkSocket(socket, "acceptWebSocket");
    if (!Array.isArray(tags)) throw mistyped("acceptWebSocket", STATE, 2, "Array");
    accept(socket, tags.map(toTag));
  }

  /** The open sockets with this tag, or all of them, oldest first. */
  getWebSockets(tag) {
    const ids = host(websockets.sockets, tag === undefined ? null : toTag(tag));
    const pending = pendingSockets(tag).map(idOf);
    const all = pending.length === 0 ? ids : [...new Set([...ids, ...pending])].sort((one, other) => one - other);
    return all.map(socketOf).filter((socket) => !hasListeners(socket));
  }

  getTags(socket) {
    const id = idOf(checkSocket(socket, "getTags"));
    return (attachedTags(socket) ?? host(websockets.tags, id)).map(fromTag);
  }

  /**
   * Send one message to all open sockets with this tag, or to all of them. Not in Durable Objects; answers how many
   * there are.
   */
  broadcast(message, tag) {
    const pending = pendingSockets(tag);
    const count = host(websockets.broadcast, tag === undefined ? null : toTag(tag), toMessage(message));
    for (const socket of pending) socket.send(message);
    return count + pending.length;
  }

  setWebSocketAutoResponse(pair) {
    if (pair !== undefined && !(pair instanceof WebSocketRequestResponsePair))
      throw mistyped("setWebSocketAutoResponse", STATE, 1, "WebSocketRequestResponsePair");
    host(websockets.setAutoResponse, pair === undefined ? null : partsOf(pair));
  }

  getWebSocketAutoResponse() {
    const pair = host(websockets.autoResponse);
    return pair === null ? null : new WebSocketRequestResponsePair(pair.request, pair.response);
  }

  getWebSocketAutoResponseTimestamp(socket) {
    const time = host(websockets.autoResponseTime, idOf(checkSocket(socket, "getWebSocketAutoResponseTimestamp")));
    return time === null ? null : new Date(time);
  }

  /** Here because Durable Objects have it. A handler's time is limited by the host's settings. */
  setHibernatableWebSocketEventTimeout(milliseconds) {
    const given = milliseconds === undefined ? 0 : Math.trunc(Number(milliseconds));
    if (Number.isNaN(given)) throw new TypeError("The value cannot be converted because it is not an integer.");
    if (given < 0)
      throw new TypeError(
        "The value cannot be converted because it is negative and this API expects a positive number.",
      );
    this.#timeout = given === 0 ? null : given;
  }

  getHibernatableWebSocketEventTimeout() {
    return this.#timeout;
  }

  /**
   * Fail the turn: nothing that it wrote remains, and the next one begins with a new instance. In an alarm with
   * `retryAlarm: false`, the alarm is given up, and not tried again.
   */
  abort(reason, { retryAlarm = true } = {}) {
    throw doom(
      reason instanceof Error
        ? reason
        : new ClassError("aborted", reason === undefined ? "the object was aborted" : String(reason)),
      retryAlarm === false,
    );
  }
}

function checkSocket(socket, method) {
  if (!(socket instanceof WebSocket)) throw mistyped(method, STATE, 1, "WebSocket");
  return socket;
}

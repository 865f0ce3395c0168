// The component's exports. Owns: the one instance of the class, and the way from each handler of the contract to its
// method. The constructor runs in the first turn, so what it writes counts with that turn, and its failure fails it.

import environment from "wasi:cli/environment@0.2.0";

import { bytesOf } from "./bytes.js";
import { ClassError } from "./errors.js";
import { makeRandom, startClock } from "./globals.js";
import { toRecord, toRequest } from "./http.js";
import { collectAfterTurn, count } from "./memory.js";
import { classOf } from "./select.js";
import { DurableObjectState, unblocked } from "./state.js";
import { whenAsked } from "./storage.js";
import { run } from "./turn.js";
import { forgetSocket, hasNoHandlers, markClosed, socketOf } from "./websocket.js";
import { start } from "./web/console.js";

function bufferOf(bytes) {
  count(bytes.length);
  return bytesOf(bytes).slice().buffer;
}

/** What a module with a class exports as a component. */
export function serve(module, name) {
  const Class = classOf(module, name);
  let object;

  const wake = () => {
    start();
    startClock();
    Math.random = makeRandom();
    whenAsked(() => object === undefined || typeof object.alarm === "function");
    object = new Class(new DurableObjectState(), Object.fromEntries(environment.getEnvironment()));
    return unblocked();
  };
  /** One turn: a method of the object, with all that it starts. */
  const turn = (handle, isAlarm) => {
    const result = run(() => (object ? handle() : wake().then(handle)), isAlarm);
    collectAfterTurn();
    return result;
  };

  return {
    fetchHandler: {
      fetch: (request) =>
        turn(async () => {
          if (typeof object.fetch !== "function")
            throw new ClassError("no-fetch", "Handler does not export a fetch() function.");
          return toRecord(await object.fetch(toRequest(request)));
        }),
    },
    alarmHandler: {
      alarm: ({ scheduled, retryCount }) =>
        turn(async () => {
          await object.alarm({ scheduledTime: Number(scheduled), retryCount, isRetry: retryCount > 0 });
        }, true),
    },
    websocketHandler: {
      message: (id, { tag, val }) =>
        turn(async () => {
          await object.webSocketMessage?.(socketOf(Number(id)), tag === "text" ? val : bufferOf(val));
        }),
      close: (id, code, reason, wasClean) =>
        turn(async () => {
          const socket = socketOf(Number(id));
          markClosed(socket);
          if (!hasNoHandlers(Number(id))) await object.webSocketClose?.(socket, code, reason, wasClean);
          forgetSocket(Number(id));
        }),
      error: (id, text) =>
        turn(async () => {
          await object.webSocketError?.(socketOf(Number(id)), new Error(text));
        }),
    },
  };
}

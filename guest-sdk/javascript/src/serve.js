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
import { doom, resume, run } from "./turn.js";
import { dispatch, forgetSocket, hasListeners, isForListeners, markClosed, socketOf } from "./websocket.js";
import { start } from "./web/console.js";

function bufferOf(bytes) {
  count(bytes.length);
  return bytesOf(bytes).slice().buffer;
}

/** What the host is answered with while the answer of a request comes later. */
const NOTHING = { status: 200, headers: [], body: new Uint8Array() };

const toResponse = (val) => ({ tag: "response", val });
const toDone = () => ({ tag: "done" });

const ALARM = { isAlarm: true };

/** What a module with a class exports as a component. */
export function serve(module, name) {
  const Class = classOf(module, name);
  let object;

  const wake = () => {
    start();
    startClock();
    Math.random = makeRandom();
    whenAsked(() => object === undefined || typeof object.alarm === "function");
    try {
      object = new Class(new DurableObjectState(), Object.fromEntries(environment.getEnvironment()));
    } catch (error) {
      throw doom(error);
    }
    return unblocked();
  };
  /** One turn: a method of the object, with all that it starts. */
  const turn = (handle, toAnswer = toDone, options = undefined) => {
    const result = run(() => (object ? handle() : wake().then(handle)), toAnswer, options);
    collectAfterTurn();
    return result;
  };

  return {
    fetchHandler: {
      fetch: (request) => {
        const handle = async () => {
          if (typeof object.fetch !== "function")
            throw new ClassError("no-fetch", "Handler does not export a fetch() function.");
          return toRecord(await object.fetch(toRequest(request)));
        };
        return turn(handle, toResponse) ?? NOTHING;
      },
    },
    alarmHandler: {
      alarm: ({ scheduled, retryCount }) =>
        turn(async () => {
          await object.alarm({ scheduledTime: Number(scheduled), retryCount, isRetry: retryCount > 0 });
        }, toDone, ALARM),
    },
    laterHandler: {
      resume: (tokens) => {
        resume(Array.from(tokens, Number));
        collectAfterTurn();
      },
    },
    websocketHandler: {
      message: (id, { tag, val }) =>
        turn(async () => {
          const socket = socketOf(Number(id));
          const message = tag === "text" ? val : bufferOf(val);
          if (hasListeners(socket)) dispatch.message(socket, message);
          else await object.webSocketMessage?.(socket, message);
        }),
      close: (id, code, reason, wasClean) =>
        turn(async () => {
          const socket = socketOf(Number(id));
          markClosed(socket);
          // Its listeners may have been those of an instance that was dropped.
          if (hasListeners(socket)) dispatch.close(socket, code, reason, wasClean);
          else if (!isForListeners(Number(id))) await object.webSocketClose?.(socket, code, reason, wasClean);
          forgetSocket(Number(id));
        }),
      error: (id, text) =>
        turn(async () => {
          const socket = socketOf(Number(id));
          if (hasListeners(socket)) dispatch.error(socket, new Error(text));
          else if (!isForListeners(Number(id))) await object.webSocketError?.(socket, new Error(text));
        }),
    },
  };
}

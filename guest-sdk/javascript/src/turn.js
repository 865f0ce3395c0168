// One turn: runs a handler, with all jobs and transactions it started, until it ends or can only wait for a later turn.
// Owns: when a turn is over, which handlers are suspended, and how each of them is answered.
//
// What must stay true: a handler is suspended only while no section is open (`context.js`); each suspended handler is
// answered once; a turn that fails without having stored anything leaves what other handlers and timers wait for.

import keyValue from "holdfast:object/key-value@0.2.0";
import later from "holdfast:object/later@0.2.0";

import { enter, isBusy } from "./context.js";
import { ClassError, failure, hostOf } from "./errors.js";
import { gaveUp, letGo, rejected, takeBackground, throwIfDoomed } from "./held.js";
import { drain, dueWith, forget, hasTimers, runDue, runNext, scheduleTimers } from "./jobs.js";
import { Promise, takeUnhandled } from "./promise.js";
import { logError } from "./web/console.js";

export { doom, hold, release, waitUntil } from "./held.js";

const host = hostOf("guest-error");

/** How many handlers are suspended. */
let suspended = 0;
/** Handlers that were suspended and have settled since, in that order. */
let settled = [];
/** Whether the class lets handlers defer their answers; undefined until one wanted to. */
let interleaves;

/** A handler from the beginning of its turn to its answer. */
class Handler {
  outcome;
  /** That of its deferred answer, if it is suspended. */
  token;

  constructor(toAnswer, staysInTurn) {
    this.toAnswer = toAnswer;
    this.staysInTurn = staysInTurn;
  }

  settle(outcome) {
    this.outcome = outcome;
    if (this.token === undefined) return;
    suspended -= 1;
    settled.push(this);
  }

  /** Have it answered in a later turn. False if it must be answered in this one. */
  suspend() {
    if (this.staysInTurn || interleaves === false) return false;
    try {
      this.token = host(later.defer);
    } catch (error) {
      if (error.code === "not-deferrable") interleaves = false;
      return false;
    }
    interleaves = true;
    if (this.outcome === undefined) suspended += 1;
    else settled.push(this);
    return true;
  }

  /** Answer it, as part of the turn that runs. */
  answer() {
    const { error, value } = this.outcome;
    if ("error" in this.outcome) logError(error);
    const answer = "error" in this.outcome ? { tag: "failed", val: failure(error) } : this.toAnswer(value);
    try {
      host(later.reply, this.token, answer);
    } catch (refusal) {
      // Whoever asked does not wait any more.
      if (refusal.code !== "gone") throw refusal;
    }
  }
}

/**
 * Call a handler and answer what its promise resolves to; undefined if the answer is given in a later turn, as
 * `toAnswer` makes it. What it throws, or is rejected with, is logged and thrown as a `failure`.
 *
 * `isAlarm`: its failure can say that it is the last attempt. `staysInTurn`: it waits inside the turn.
 */
export function run(handler, toAnswer, { isAlarm = false, staysInTurn = false } = {}) {
  const own = new Handler(toAnswer, staysInTurn);
  return turn(isAlarm, () => {
    enter(undefined);
    Promise.try(handler).then(
      (value) => own.settle({ value }),
      (error) => own.settle({ error }),
    );
    drain();
    do endSections();
    while (own.outcome === undefined && !own.suspend() && advance("the handler"));
    endBackground(own);
    return own;
  });
}

/** Run the timers that the host resumes the object for, and what goes on with them. */
export function resume(tokens) {
  const until = dueWith(tokens);
  turn(false, () => {
    while (runDue(until)) {
      drain();
      endSections();
    }
    endBackground();
  });
}

function turn(isAlarm, act) {
  try {
    const own = act();
    reportUnhandled();
    throwIfDoomed();
    const value = end(own);
    letGo(suspended > 0 || hasTimers());
    return value;
  } catch (thrown) {
    const keepsInstance = thrown instanceof Failed;
    const error = keepsInstance ? thrown.error : thrown;
    logError(error);
    reportUnhandled();
    const isLast = isAlarm && gaveUp();
    letGo();
    if (!keepsInstance) dropInstance();
    throw failure(error, isLast);
  }
}

/** The failure of a handler that leaves the instance as it is, if nothing was stored. */
class Failed {
  constructor(error) {
    this.error = error;
  }
}

/** Give the answers that the turn has, and see to the timers that it leaves. */
function end(own) {
  const fails = own !== undefined && own.token === undefined && "error" in own.outcome;
  // The answers of others count although this handler fails.
  const isDeferred = fails && settled.length > 0 && own.suspend();
  for (const handler of fails && !isDeferred ? [] : settled.splice(0)) handler.answer();
  scheduleTimers();
  if (fails && !isDeferred) throw new Failed(own.outcome.error);
  return own?.token === undefined ? own?.outcome.value : undefined;
}

/** Run until no transaction is open, also of those that the handler did not wait for. */
function endSections() {
  while (isBusy()) advance("a transaction");
  throwIfDoomed();
}

/** What is given to `waitUntil` goes on after the turn, or inside it if the class is not to be interleaved. */
function endBackground(own) {
  for (let next = takeBackground(); next !== undefined; next = takeBackground()) {
    let isOver = false;
    Promise.resolve(next[0])
      .catch(rejected)
      .then(() => (isOver = true));
    drain();
    endSections();
    if (!isOver && own !== undefined && own.token === undefined && interleaves === undefined) own.suspend();
    while (!isOver && interleaves === false) {
      advance("a promise given to waitUntil");
      endSections();
    }
  }
}

/** Run what comes next when no job is left. */
function advance(who) {
  if (!runNext()) throw new ClassError("never-settles", `${who} waits for a promise that nothing will settle`);
  drain();
  return true;
}

function reportUnhandled() {
  takeUnhandled((error) => console.error("Uncaught (in promise)", error));
  drain();
}

/** Have the host drop the instance with the turn, which fails: it keeps one that has stored nothing. */
function dropInstance() {
  forget();
  try {
    keyValue.put("\0", new Uint8Array(1));
  } catch {
    // Storage that takes nothing fails the turn as well.
  }
}

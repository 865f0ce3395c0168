// One turn: runs a handler, with all jobs and transactions it started, until it ends or can only wait for a later turn.
// Owns: when a turn is over, which handlers are suspended, and how each of them is answered.
//
// What must stay true: a turn ends only while no section is open that ends with it (`context.js`); while another one is
// open, the host lets no events in; each suspended handler is answered once; a turn that fails without having stored
// anything leaves what other handlers and timers wait for.

import later from "holdfast:object/later@0.2.0";

import { Root, enter, isOpen, mustGoOn } from "./context.js";
import { ClassError, failure, hostOf } from "./errors.js";
import { doom, gaveUp, letGo, rejected, takeBackground, throwIfDoomed } from "./held.js";
import { drain, dueWith, forget, hasTimers, runDue, runNext, scheduleTimers } from "./jobs.js";
import { Promise, takeUnhandled } from "./promise.js";
import { logError } from "./web/console.js";

export { doom, hold, release, waitUntil } from "./held.js";

const host = hostOf("guest-error");

/** How many handlers are suspended. */
let suspended = 0;
/** Handlers that were suspended and have settled since, in that order. */
let settled = [];
/** Whether one of them is the alarm's. */
let hasSuspendedAlarm = false;
/** Whether the class lets handlers defer their answers; undefined until one wanted to. */
let interleaves;
/** Whether the host keeps other events out. */
let isExclusive = false;
/** The reason why the instance is dropped after a turn that succeeds, if it is. */
let broken;

/** A handler from the beginning of its turn to its answer, and the context of its code. */
class Handler extends Root {
  outcome;
  /** That of its deferred answer, if it is suspended. */
  token;
  /** Whether it was answered. */
  isOver = false;
  /** Called once with whether the socket was opened that it has accepted, if it has (`websocket.js`). */
  whenAnswered = () => {};

  constructor(toAnswer, isAlarm) {
    super();
    this.toAnswer = toAnswer;
    this.isAlarm = isAlarm;
  }

  settle(outcome) {
    this.outcome = outcome;
    if (this.token === undefined) return;
    suspended -= 1;
    settled.push(this);
  }

  /** Have it answered in a later turn. False if it must be answered in this one. */
  suspend() {
    if (interleaves === false) return false;
    try {
      this.token = host(later.defer);
    } catch (error) {
      if (error.code === "not-deferrable") interleaves = false;
      return false;
    }
    interleaves = true;
    hasSuspendedAlarm ||= this.isAlarm;
    if (this.outcome === undefined) suspended += 1;
    else settled.push(this);
    return true;
  }

  /** Answer it, as part of the turn that runs. */
  answer() {
    this.outcome = broken ?? this.outcome;
    const { error, value } = this.outcome;
    if ("error" in this.outcome) logError(error);
    const answer = "error" in this.outcome ? { tag: "failed", val: failure(error) } : this.toAnswer(value);
    if (this.isAlarm) hasSuspendedAlarm = false;
    let isTaken = true;
    try {
      host(later.reply, this.token, answer);
    } catch (refusal) {
      // Whoever asked does not wait any more.
      if (refusal.code !== "gone") throw refusal;
      isTaken = false;
    }
    this.end(isTaken);
  }

  /** It is answered. */
  end(isTaken) {
    this.isOver = true;
    this.whenAnswered(isTaken && this.outcome.value?.status === 101);
  }
}

/**
 * Call a handler and answer what its promise resolves to; undefined if the answer is given in a later turn, as
 * `toAnswer` makes it. What it throws, or is rejected with, is logged and thrown as a `failure`.
 *
 * `isAlarm`: its failure can say that it is the last attempt.
 */
export function run(handler, toAnswer, { isAlarm = false } = {}) {
  const own = new Handler(toAnswer, isAlarm);
  return turn(isAlarm, () => {
    enter(own);
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
    enter(undefined);
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
    tellExclusive();
    if (broken) dropInstance();
    letGo(suspended > 0 || hasTimers());
    return value;
  } catch (thrown) {
    const keepsInstance = thrown instanceof Failed;
    const error = keepsInstance ? thrown.error : thrown;
    logError(error);
    reportUnhandled();
    const isLast = gaveUp() && (isAlarm || hasSuspendedAlarm);
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
  // The answers of others count although this handler fails, and what keeps other events out goes on.
  const isDeferred = fails && (settled.length > 0 || isOpen()) && own.suspend();
  for (const handler of fails && !isDeferred ? [] : settled.splice(0)) handler.answer();
  scheduleTimers();
  if (fails && !isDeferred) throw new Failed(own.outcome.error);
  if (own === undefined || own.token !== undefined) return undefined;
  own.end(true);
  return own.outcome.value;
}

/** Have the host keep other events out as long as a section is open. */
function tellExclusive() {
  if (isOpen() === isExclusive) return;
  isExclusive = isOpen();
  host(later.exclusive, isExclusive);
}

/**
 * What a section has thrown that may span turns makes the object unusable, whoever handles it. In its first turn it
 * fails the turn; in a later one the instance is dropped after its callers have got the error.
 */
export function breakWith(error) {
  if (isExclusive) broken ??= { error };
  else doom(error);
}

/** Run until the turn can end: until no transaction is open, also of those that the handler did not wait for. */
function endSections() {
  while (mustGoOn()) advance("a transaction");
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

/** Have the host drop the instance with the turn. It keeps one that has failed and stored nothing. */
function dropInstance() {
  broken = undefined;
  forget();
  host(later.dropInstance);
}

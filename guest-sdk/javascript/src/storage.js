// `ctx.storage`. Everything is done when it is called, unless a transaction is open that the caller is not part of
// (`sections.js`): then what returns a promise waits for its end, and what writes at once is refused. What a turn
// writes counts as a whole or not at all, so the options that weaken that elsewhere (`allowUnconfirmed`, `noCache` …)
// do nothing.

import alarms from "holdfast:object/alarms@0.2.0";
import storage from "holdfast:object/storage@0.2.0";

import { alarmTime, callable } from "./arguments.js";
import { current, isInside, mayRun } from "./context.js";
import { hostOf, refusal } from "./errors.js";
import { SyncKvStorage, deleting, listing, putting, reading } from "./kv.js";
import { promised } from "./promise.js";
import { mustBeInside, operation, section } from "./sections.js";
import { SqlStorage } from "./sql.js";
import { hold, release } from "./turn.js";

const host = hostOf("storage-error");
const alarm = hostOf("alarm-error");

let handlesAlarms;

/**
 * Has this function say whether the object handles alarms. A handler can be a field of the instance, which the host
 * cannot see.
 */
export function whenAsked(check) {
  handlesAlarms = check;
}

/**
 * The method that has an operation done and returns a promise of its result. The operation has checked its arguments
 * already.
 */
const perform = Symbol("perform");

/** What storage and a transaction have in common. */
class Operations {
  get(keys) {
    return this[perform]("get", () => reading(keys));
  }

  put(key, value) {
    return this[perform]("put", () => putting(key, value));
  }

  delete(keys) {
    return this[perform]("delete", () => deleting(keys));
  }

  list(options) {
    return this[perform]("list", () => listing(options));
  }

  getAlarm() {
    return this[perform]("getAlarm", () => () => alarm(alarms.get));
  }

  setAlarm(time) {
    return this[perform]("setAlarm", () => {
      const at = alarmTime(time);
      if (handlesAlarms?.() === false) throw refusal("alarm-error", "no-handler");
      return () => alarm(alarms.set, at);
    });
  }

  deleteAlarm() {
    return this[perform]("deleteAlarm", () => () => alarm(alarms.delete));
  }
}

export class DurableObjectStorage extends Operations {
  #kv = new SyncKvStorage();
  #sql = new SqlStorage();

  get kv() {
    return this.#kv;
  }

  get sql() {
    return this.#sql;
  }

  /** Remove keys, tables and the alarm. */
  deleteAll() {
    return this[perform]("deleteAll", () => () => ofTheTurn("deleteAll", storage.deleteAll));
  }

  /** Make what the turn has written so far durable. It stays even if the turn fails later. */
  sync() {
    return this[perform]("sync", () => () => ofTheTurn("sync", storage.sync));
  }

  transactionSync(closure) {
    callable(closure, "transactionSync", "DurableObjectStorage");
    mustBeInside("transactionSync()");
    const savepoint = new Savepoint();
    let value;
    try {
      value = closure();
    } catch (error) {
      savepoint.undo();
      throw error;
    }
    savepoint.keep();
    return value;
  }

  transaction(closure) {
    return promised(() => {
      callable(closure, "transaction", "DurableObjectStorage");
      return section((own) => transact(own, closure));
    });
  }

  [perform](_name, prepare) {
    if (mayRun(current)) return promised(() => prepare()());
    let call;
    try {
      call = prepare();
    } catch (error) {
      return promised(() => {
        throw error;
      });
    }
    return operation(call);
  }
}

/** Run the closure of a transaction, and end the transaction after those inside it. */
function transact(own, closure) {
  const transaction = new DurableObjectTransaction(own);
  const end = (how) => operation(() => transaction[finish](how), own);
  return promised(() => closure(transaction)).then(
    (value) => end("keep").then(() => value),
    (error) =>
      end("undo").then(() => {
        throw error;
      }),
  );
}

/** Call what concerns the turn as a whole. */
function ofTheTurn(name, call) {
  try {
    return host(call);
  } catch (error) {
    if (error.code === "savepoint-open") error.message = `Cannot call ${name}() within a transaction`;
    throw error;
  }
}

/** A point of the turn that storage can go back to. */
class Savepoint {
  #held = hold(host(storage.openSavepoint));

  keep() {
    this.#end("keep");
  }

  undo() {
    this.#end("undo");
  }

  #end(how) {
    host(() => this.#held[how]());
    release(this.#held);
  }
}

/** The method with which its section ends a transaction. */
const finish = Symbol("finish");

export class DurableObjectTransaction extends Operations {
  #section;
  #savepoint = new Savepoint();
  #state = "open";

  constructor(section) {
    super();
    this.#section = section;
  }

  /**
   * Undo what is written inside this transaction, whatever the closure answers. What follows is not part of it any
   * more.
   */
  rollback() {
    if (this.#state === "rolled back") return;
    this.#mustBeOpen("rollback");
    if (!mayRun(this.#section))
      throw new Error("Cannot roll back an outer transaction while a nested transaction is still running.");
    this[finish]("undo");
  }

  delete(keys) {
    this.#mustBeOpen("delete");
    return super.delete(keys);
  }

  deleteAll() {
    throw new Error("Cannot call deleteAll() within a transaction");
  }

  [finish](how) {
    if (this.#state !== "open") return;
    this.#state = how === "keep" ? "committed" : "rolled back";
    this.#savepoint[how]();
  }

  [perform](name, prepare) {
    const call = () => {
      const prepared = prepare();
      this.#mustBeOpen(name);
      return prepared();
    };
    // Code that is not part of the transaction may use it, too.
    return operation(call, isInside(current, this.#section) ? current : this.#section);
  }

  #mustBeOpen(name) {
    if (this.#state === "rolled back") throw new Error(`Cannot ${name}() on rolled back transaction`);
    if (this.#state === "committed")
      throw new Error(
        `Cannot call ${name}() on transaction that has already committed: did you move \`txn\` outside of the closure?`,
      );
  }
}

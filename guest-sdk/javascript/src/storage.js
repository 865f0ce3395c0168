// `ctx.storage`. Everything is done when it is called; promises are there because Durable Objects have them. What a turn writes
// counts as a whole or not at all, so the options that weaken that elsewhere (`allowUnconfirmed`, `noCache` …) do nothing.

import alarms from "holdfast:object/alarms@0.2.0";
import storage from "holdfast:object/storage@0.2.0";

import { hostOf } from "./errors.js";
import { promised } from "./promise.js";
import { hold, release } from "./turn.js";
import { SyncKvStorage, deleteMany, getMany, putMany } from "./kv.js";
import { SqlStorage } from "./sql.js";

const host = hostOf("storage-error");
const alarm = hostOf("alarm-error");

/** What storage and a transaction have in common. */
class Operations {
  #kv = new SyncKvStorage();

  get kv() {
    return this.#kv;
  }

  get(keys) {
    return promised(() => (Array.isArray(keys) ? getMany(keys) : this.#kv.get(keys)));
  }

  put(key, value) {
    return promised(() => (typeof key === "object" && key !== null ? putMany(key) : this.#kv.put(key, value)));
  }

  delete(keys) {
    return promised(() => (Array.isArray(keys) ? deleteMany(keys) : this.#kv.delete(keys)));
  }

  list(options) {
    return promised(() => new Map(this.#kv.list(options)));
  }

  async getAlarm() {
    return alarm(alarms.get);
  }

  async setAlarm(time) {
    // The host refuses 0, and so all that is no time.
    alarm(alarms.set, Math.min(Math.max(Math.floor(Number(time)) || 0, 0), 2 ** 53));
  }

  async deleteAlarm() {
    alarm(alarms.delete);
  }
}

export class DurableObjectStorage extends Operations {
  #sql = new SqlStorage();

  get sql() {
    return this.#sql;
  }

  /** Remove keys, tables and the alarm. */
  async deleteAll() {
    host(storage.deleteAll);
  }

  /** Make what the turn has written so far durable. It stays even if the turn fails later. */
  async sync() {
    host(storage.sync);
  }

  transactionSync(closure) {
    const savepoint = hold(host(storage.openSavepoint));
    let value;
    try {
      value = closure();
    } catch (error) {
      end(savepoint, "undo");
      throw error;
    }
    end(savepoint, "keep");
    return value;
  }

  async transaction(closure) {
    const savepoint = hold(host(storage.openSavepoint));
    const transaction = new DurableObjectTransaction();
    let value;
    try {
      value = await closure(transaction);
    } catch (error) {
      end(savepoint, "undo");
      throw error;
    }
    end(savepoint, transaction.isRolledBack ? "undo" : "keep");
    return value;
  }
}

function end(savepoint, how) {
  host(() => savepoint[how]());
  release(savepoint);
}

class DurableObjectTransaction extends Operations {
  isRolledBack = false;

  /** Undo what is written inside this transaction, whatever the closure answers. */
  rollback() {
    this.isRolledBack = true;
  }
}

// Runs generated programs of transactions, and keeps a trace of what happened in which order. `transactions.mjs` makes
// the programs.

import { DurableObject } from "cloudflare:workers";

const nap = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
const FAR = 2e12;

export class Transactions extends DurableObject {
  #trace = [];
  /** How many transactions were called and have not ended. */
  #open = 0;

  async fetch(request) {
    const { pathname } = new URL(request.url);
    if (pathname === "/result")
      return Response.json({ open: this.#open, trace: this.#trace, ...(await this.#stored()) });
    const program = await request.json();
    this.ctx.storage.sql.exec("CREATE TABLE IF NOT EXISTS said (word TEXT)");
    try {
      await this.#block(program, undefined, "main");
      this.#trace.push("main: done");
    } catch (error) {
      // A handler that throws is another story: here its turn is rolled back.
      this.#trace.push(`main: ${error}`);
    }
    return new Response();
  }

  async #stored() {
    const { storage } = this.ctx;
    const alarm = await storage.getAlarm();
    return {
      keys: [...(await storage.list())],
      said: storage.sql.exec("SELECT word FROM said ORDER BY rowid").toArray(),
      alarm: alarm && alarm - FAR,
    };
  }

  /**
   * Runs steps one after the other, with the transaction around them, and waits at its end for what was to be awaited
   * then.
   */
  async #block(steps, tx, place) {
    const later = [];
    for (const [index, step] of steps.entries()) await this.#step(step, tx, `${place}.${index}`, later);
    await Promise.all(later);
  }

  async #step([what, ...args], tx, place, later) {
    const { storage } = this.ctx;
    const told = (promise) =>
      promise.then(
        (value) => this.#trace.push(`${place} ${what}: ${JSON.stringify(value) ?? "done"}`),
        (error) => this.#trace.push(`${place} ${what}: ${error}`),
      );
    switch (what) {
      case "put":
        return told(storage.put(args[0], place));
      case "get":
        return told(storage.get(args[0]));
      case "delete":
        return told(storage.delete(args[0]));
      case "tx.put":
        return told(tx.put(args[0], place));
      case "tx.get":
        return told(tx.get(args[0]));
      case "kv.put":
        return void storage.kv.put(args[0], place);
      case "sql":
        return void storage.sql.exec("INSERT INTO said VALUES (?)", place);
      case "alarm":
        return told(storage.setAlarm(FAR + args[0]));
      case "tx.alarm":
        return told(tx.setAlarm(FAR + args[0]));
      case "no alarm":
        return told(storage.deleteAlarm());
      case "sync":
        try {
          storage.transactionSync(() => {
            storage.sql.exec("INSERT INTO said VALUES (?)", place);
            storage.kv.put(args[0], place);
            if (args[1]) throw new Error("sync");
          });
        } catch (error) {
          this.#trace.push(`${place} sync: ${error}`);
        }
        return undefined;
      case "nap":
        return nap(args[0]).then(() => this.#trace.push(`${place} nap`));
      case "tick":
        return Promise.resolve().then(() => this.#trace.push(`${place} tick`));
      case "timer":
        return void setTimeout(() => {
          this.#trace.push(`${place} timer`);
          storage.put(`timer ${place}`, 1);
        }, args[0]);
      case "throw":
        throw new Error(`thrown at ${place}`);
      case "rollback":
        tx.rollback();
        return undefined;
      case "transaction": {
        const [how, body] = args;
        this.#trace.push(`${place} calls`);
        const run = async (own) => {
          this.#trace.push(`${place} begins`);
          await this.#block(body, own, place);
          this.#trace.push(`${place} ends`);
          return place;
        };
        this.#open += 1;
        const transaction = told(storage.transaction(run)).then(() => (this.#open -= 1));
        if (how === "now") return transaction;
        if (how === "later") later.push(transaction);
        return undefined;
      }
      case "branch":
        later.push(this.#block(args[0], tx, place).catch((error) => this.#trace.push(`${place}: ${error}`)));
        return undefined;
    }
    throw new Error(`there is no step ${what}`);
  }

  alarm() {}
}

// Runs generated programs of several clients, and keeps a trace of what happened in which order. `interleaving.mjs` makes
// the programs.

import { DurableObject } from "cloudflare:workers";

export class Interleaving extends DurableObject {
  #trace = [];
  /** How many clients have begun, and how much that they have started has not ended. */
  #begun = 0;
  #open = 0;
  #start;
  #started = new Promise((resolve) => (this.#start = resolve));
  #at = 0;
  #unit = 0;

  async fetch(request) {
    const { pathname, searchParams } = new URL(request.url);
    switch (pathname) {
      case "/client": {
        const steps = await request.json();
        this.ctx.storage.sql.exec("CREATE TABLE IF NOT EXISTS said (word TEXT)");
        this.#begun += 1;
        await this.#started;
        await this.#opened(() => this.#block(steps, searchParams.get("name")));
        return new Response();
      }
      case "/go":
        this.#unit = Number(searchParams.get("unit"));
        this.#at = Date.now();
        this.#start();
        if (searchParams.get("throws") === "true") throw new Error("after the start");
        return new Response();
      case "/forgotten":
        // Three times something that nobody waits for.
        setTimeout(() => this.ctx.storage.put("t0", 1), 0);
        setTimeout(() => this.ctx.storage.put("t300", 1), 300);
        (async () => {
          await new Promise((resolve) => setTimeout(resolve, 50));
          await this.ctx.storage.put("bg", 1);
        })();
        return new Response("ok");
    }
    return Response.json({ begun: this.#begun, open: this.#open, trace: this.#trace, ...(await this.#stored()) });
  }

  async #stored() {
    const { storage } = this.ctx;
    const isThere = storage.sql.exec("SELECT name FROM sqlite_master WHERE name = 'said'").toArray().length > 0;
    return {
      keys: [...(await storage.list())],
      said: isThere ? storage.sql.exec("SELECT word FROM said ORDER BY rowid").toArray() : [],
    };
  }

  /** Counts work as open until it has ended. */
  async #opened(work) {
    this.#open += 1;
    try {
      return await work();
    } finally {
      this.#open -= 1;
    }
  }

  #timer(slot, callback) {
    setTimeout(callback, Math.max(0, this.#at + slot * this.#unit - Date.now()));
  }

  async #block(steps, place) {
    for (const [index, step] of steps.entries()) await this.#step(step, `${place}.${index}`);
    this.#trace.push(`${place} ends`);
  }

  async #step([what, ...args], place) {
    const { storage } = this.ctx;
    const trace = (more) => this.#trace.push(`${place} ${what} ${more}`);
    switch (what) {
      case "put":
        await storage.put(args[0], place);
        return trace("done");
      case "get":
        return trace(await storage.get(args[0]));
      case "sql":
        return void storage.sql.exec("INSERT INTO said VALUES (?)", place);
      case "tick":
        await null;
        return trace("done");
      case "transaction":
        try {
          await storage.transaction(async (tx) => {
            await tx.put(args[0], place);
            if (args[1]) throw new Error("undone");
          });
          return trace("done");
        } catch (error) {
          return trace(error.message);
        }
      case "nap":
        await new Promise((resolve) => this.#timer(args[0], resolve));
        return trace("done");
      case "wait": {
        let tell;
        const told = new Promise((resolve) => (tell = resolve));
        this.#opened(() => new Promise((resolve) => this.#timer(args[0], () => resolve(tell("told")))));
        return trace(await told);
      }
      case "timer":
        return void this.#opened(
          () =>
            new Promise((resolve) =>
              this.#timer(args[0], () => {
                trace("fires");
                storage.put(args[1], place);
                resolve();
                if (args[2]) throw new Error("in a timer");
              }),
            ),
        );
      case "background": {
        const work = this.#opened(() => this.#block(args[1], place));
        if (args[0] === "waitUntil") this.ctx.waitUntil(work);
        else work.catch((error) => trace(error.message));
        return trace("begins");
      }
      case "throw":
        trace("throws");
        throw new Error(`thrown at ${place}`);
    }
    throw new Error(`there is no step ${what}`);
  }
}

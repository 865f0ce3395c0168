import { DurableObject } from "cloudflare:workers";

import { outcome, show } from "./show.js";

const ring = { name: "ring" };
ring.self = ring;

const VALUES = {
  null: null,
  false: false,
  zero: 0,
  negative: -0,
  large: 2 ** 60,
  float: 0.1,
  nan: NaN,
  bigint: -(2n ** 70n),
  text: "aü€🦀\0",
  empty: "",
  date: new Date(1767225600123),
  map: new Map([["k", { deep: [1, , 3] }]]),
  set: new Set([1, "1"]),
  bytes: new Uint8Array([0, 255]),
  floats: new Float64Array([0.5]),
  buffer: new Uint8Array([1, 2, 3]).buffer,
  regexp: /a+/gi,
  error: new RangeError("out"),
  ring,
  undefinedInside: { a: undefined },
};

export class Kv extends DurableObject {
  async fetch(request) {
    const scenario = new URL(request.url).pathname.slice(1);
    return Response.json(await this[scenario](this.ctx.storage));
  }

  async values(storage) {
    for (const [key, value] of Object.entries(VALUES)) await storage.put(key, value);
    const back = {};
    for (const key of Object.keys(VALUES)) back[key] = show(await storage.get(key));
    return { back, view: show(await storage.get("none")), sync: show(storage.kv.get("map")) };
  }

  async many(storage) {
    await storage.put({ b: 2, a: 1, c: 3, é: 4, 10: 10, 9: 9 });
    return {
      some: show(await storage.get(["c", "a", "zz", "a"])),
      one: await storage.delete("a"),
      again: await storage.delete("a"),
      several: await storage.delete(["b", "c", "zz"]),
      left: show(await storage.list()),
    };
  }

  async lists(storage) {
    for (let i = 0; i < 300; i++) storage.put(`item-${String(i).padStart(3, "0")}`, i);
    await storage.put({ other: 1, item: "bare", itemz: "z" });
    const keys = async (options) => [...(await storage.list(options)).keys()];
    return [
      (await keys()).length,
      await keys({ prefix: "item-00" }),
      await keys({ prefix: "item-", limit: 3, reverse: true }),
      await keys({ start: "item-298" }),
      await keys({ startAfter: "item-298" }),
      await keys({ end: "item-002" }),
      await keys({ start: "item-005", end: "item-010", reverse: true, limit: 2 }),
      await keys({ start: "x", end: "a" }),
      await keys({ prefix: "item-1", start: "item-198", end: "item-3" }),
      (await outcome(() => storage.list({ start: "a", startAfter: "b" }))).thrown !== undefined,
      (await outcome(() => storage.list({ limit: 0 }))).thrown !== undefined,
      [...storage.kv.list({ prefix: "item-29", limit: 2 })],
    ];
  }

  async refusals(storage) {
    return [
      await outcome(() => storage.put("u", undefined)),
      (await outcome(() => storage.put("f", () => {}))).thrown !== undefined,
    ];
  }

  async transactions(storage) {
    await storage.put("kept", 0);
    const failed = await outcome(() =>
      storage.transaction(async (txn) => {
        await txn.put("kept", 1);
        throw new Error("changed my mind");
      }),
    );
    const answer = await storage.transaction(async (txn) => {
      await txn.put("inside", (await txn.get("kept")) + 1);
      return "answer";
    });
    await storage.transaction(async (txn) => {
      await txn.put("gone", 1);
      txn.rollback();
    });
    const failedSync = await outcome(() =>
      storage.transactionSync(() => {
        storage.kv.put("sync", 1);
        throw new Error("no");
      }),
    );
    const nested = storage.transactionSync(() => {
      storage.kv.put("outer", 1);
      try {
        storage.transactionSync(() => {
          storage.kv.put("inner", 1);
          throw new Error("inner");
        });
      } catch (error) {
        return error.message;
      }
    });
    return { failed, answer, failedSync, nested, all: show(await storage.list()) };
  }

  async everything(storage) {
    await storage.put("a", 1);
    await storage.sync();
    await storage.deleteAll();
    return show(await storage.list());
  }

  async together(storage) {
    const results = await Promise.all([storage.put("x", 1), storage.get("x"), storage.put("x", 2), storage.get("x")]);
    return show(results);
  }
}

// Transactions and other sections within a turn, on a host in memory. `tests/compat/javascript` compares generated
// programs with workerd.

import assert from "node:assert/strict";
import test from "node:test";

import { Promise as OwnPromise } from "../src/promise.js";
import { section } from "../src/sections.js";
import { deserialize } from "../src/serialize.js";
import { DurableObjectStorage } from "../src/storage.js";
import { resume, run } from "../src/turn.js";
import { timers } from "../src/web/timers.js";
import { nextResumes, reset, stored } from "./host.js";

const storage = new DurableObjectStorage();
const nap = (milliseconds) => new OwnPromise((resolve) => timers.setTimeout(resolve, milliseconds));
const keys = () => [...stored.keys].map(([key, value]) => [key, deserialize(value)]);
const told = (promise) =>
  promise.then(
    (value) => ["kept", value],
    (error) => ["undone", error.message],
  );
const no = () => {
  throw new Error("no");
};

/** A handler on an empty object, with the turns after its own; what it, which is given a list, has written to that. */
function turn(handler) {
  reset();
  const trace = [];
  run(
    () => handler(trace),
    () => ({ tag: "done" }),
  );
  for (let tokens = nextResumes(); tokens.length > 0; tokens = nextResumes()) resume(tokens);
  return trace;
}

test("transactions side by side run one after the other", () => {
  const outcomes = turn((trace) =>
    OwnPromise.all([
      told(
        storage.transaction((txn) =>
          txn
            .put("a", 1)
            .then(() => nap(40))
            .then(no),
        ),
      ),
      told(storage.transaction((txn) => txn.put("b", 1).then(() => nap(20)))),
    ]).then((all) => trace.push(...all)),
  );
  assert.deepEqual(outcomes, [
    ["undone", "no"],
    ["kept", undefined],
  ]);
  assert.deepEqual(keys(), [["b", 1]]);
});

test("what is written beside a transaction is no part of it", () => {
  turn(() => {
    const transaction = told(
      storage.transaction((txn) =>
        txn
          .put("a", 1)
          .then(() => nap(5))
          .then(no),
      ),
    );
    timers.setTimeout(() => storage.put("timer", 1), 1);
    return storage
      .put("b", 1)
      .then(() => transaction)
      .then(() => nap(5));
  });
  assert.deepEqual(keys(), [
    ["b", 1],
    ["timer", 1],
  ]);
});

test("code outside that goes on while a transaction is open waits with its promises, and is refused what writes at once", () => {
  const trace = turn((trace) => {
    let goOn;
    const resumed = new OwnPromise((resolve) => (goOn = resolve));
    const transaction = told(
      storage.transaction((txn) =>
        txn
          .put("a", 1)
          .then(() => goOn())
          .then(() => nap(5))
          .then(() => trace.push("ends"))
          .then(no),
      ),
    );
    return resumed.then(() => {
      assert.throws(() => storage.kv.put("now", 1), /transaction is open/);
      assert.throws(() => storage.sql.exec("SELECT 1"), /transaction is open/);
      assert.throws(() => storage.transactionSync(() => {}), /transaction is open/);
      const later = storage
        .put("later", 1)
        .then(() => storage.get("later"))
        .then((value) => trace.push(`stored ${value}`));
      return OwnPromise.all([later, storage.setAlarm(5), transaction]);
    });
  });
  assert.deepEqual([trace, keys(), stored.alarm], [["ends", "stored 1"], [["later", 1]], 5]);
});

test("a transaction that is not awaited ends before its turn", () => {
  turn(() => {
    storage.transaction((txn) =>
      txn
        .put("a", 1)
        .then(() => nap(50))
        .then(() => txn.put("b", 2)),
    );
  });
  assert.deepEqual(keys(), [
    ["a", 1],
    ["b", 2],
  ]);
  assert.throws(() => turn(() => void storage.transaction(() => new OwnPromise(() => {}))), { code: "never-settles" });
});

test("a transaction that has ended refuses to be used", () => {
  const messages = (how) =>
    turn((trace) => {
      let late;
      const use = () =>
        OwnPromise.allSettled([late.get("k"), late.put("k", 1), late.list(), late.setAlarm(1)]).then((results) => {
          trace.push(...results.map(({ reason }) => reason.message));
          for (const call of [() => late.delete("k"), () => late.rollback()]) {
            try {
              trace.push(String(call()));
            } catch (error) {
              trace.push(error.message);
            }
          }
        });
      return told(storage.transaction((txn) => how((late = txn)))).then(use);
    });
  assert.deepEqual(
    messages(() => {}),
    [
      ...["get", "put", "list", "setAlarm", "delete", "rollback"].map(
        (name) =>
          `Cannot call ${name}() on transaction that has already committed: did you move \`txn\` outside of the closure?`,
      ),
    ],
  );
  const rolledBack = [
    ...["get", "put", "list", "setAlarm", "delete"].map((name) => `Cannot ${name}() on rolled back transaction`),
    "undefined",
  ];
  assert.deepEqual(
    messages((txn) => txn.rollback()),
    rolledBack,
  );
  assert.deepEqual(messages(no), rolledBack);
});

test("transactions nest, and the one around ends last", () => {
  const trace = turn((trace) => {
    let goOn;
    const resumed = new OwnPromise((resolve) => (goOn = resolve));
    return storage.transaction((outer) => {
      told(
        storage.transaction((inner) =>
          inner
            .put("inner", 1)
            .then(() => goOn())
            .then(() => nap(5))
            .then(() => trace.push("inner ends")),
        ),
      );
      return outer
        .put("outer", 1)
        .then(() => resumed)
        .then(() => {
          assert.throws(() => outer.rollback(), /outer transaction while a nested transaction is still running/);
          trace.push("outer ends");
        });
    });
  });
  assert.deepEqual(
    [trace, keys()],
    [
      ["outer ends", "inner ends"],
      [
        ["outer", 1],
        ["inner", 1],
      ],
    ],
  );
});

test("what goes on after a rollback is no part of the transaction", () => {
  turn(() =>
    storage.transaction((txn) =>
      txn
        .put("a", 1)
        .then(() => txn.rollback())
        .then(() => storage.put("after", 1)),
    ),
  );
  assert.deepEqual(keys(), [["after", 1]]);
});

test("the turn as a whole is no matter of a transaction", () => {
  const trace = turn((trace) =>
    storage.transaction((txn) => {
      assert.throws(() => txn.deleteAll(), { message: "Cannot call deleteAll() within a transaction" });
      return OwnPromise.allSettled([storage.deleteAll(), storage.sync()]).then((results) =>
        trace.push(...results.map(({ reason }) => `${reason.name}: ${reason.message}`)),
      );
    }),
  );
  assert.deepEqual(
    trace,
    ["deleteAll", "sync"].map((name) => `Error: Cannot call ${name}() within a transaction`),
  );
});

test("a section keeps timers outside waiting, and what is no transaction", () => {
  const trace = turn((trace) => {
    timers.setTimeout(() => trace.push("timer"), 1);
    const ended = section(() => nap(20).then(() => trace.push("section")));
    return OwnPromise.all([ended, storage.transaction(() => trace.push("transaction"))]).then(() => nap(1));
  });
  assert.deepEqual(trace, ["section", "transaction", "timer"]);
});

test("what a turn leaves open when it fails is not open in the next one", () => {
  assert.throws(
    () =>
      turn(() => {
        storage.transaction((txn) => txn.put("a", 1).then(() => new OwnPromise(() => {})));
        return nap(1).then(no);
      }),
    { code: "never-settles" },
  );
  turn(() => storage.put("b", 1));
  assert.deepEqual(keys(), [["b", 1]]);
});

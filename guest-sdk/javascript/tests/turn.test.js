import assert from "node:assert/strict";
import test from "node:test";

import { ClassError, failure, hostOf, refusal } from "../src/errors.js";
import { Promise as OwnPromise } from "../src/promise.js";
import { SOURCES, stackOf } from "../src/stack.js";
import { doom, hold, run, waitUntil } from "../src/turn.js";
import { late } from "./host.js";

test("a turn ends when its promise and what it waits for have settled", () => {
  const order = [];
  const value = run(() => {
    waitUntil(OwnPromise.resolve().then(() => order.push("background")));
    return OwnPromise.resolve("value").then((result) => (order.push("handler"), result));
  });
  assert.deepEqual([value, order], ["value", ["background", "handler"]]);
  assert.equal(
    run(() => 5),
    5,
  );
});

test("what a handler throws, or a promise that nothing settles, fails the turn", () => {
  assert.throws(
    () =>
      run(() => {
        throw new RangeError("at once");
      }),
    { code: "guest-error", message: "at once" },
  );
  assert.throws(() => run(() => OwnPromise.reject(new ClassError("later", "no"))), { code: "later", message: "no" });
  late.interleave = false;
  assert.throws(() => run(() => new OwnPromise(() => {})), { code: "never-settles" });
  assert.equal(
    run(() => "the next one is not affected"),
    "the next one is not affected",
  );
});

test("a doomed turn fails whatever its handler makes of it", () => {
  const swallow = () => {
    try {
      throw doom(new ClassError("aborted", "enough"));
    } catch {
      return "fine";
    }
  };
  assert.throws(() => run(swallow), { code: "aborted" });
  assert.equal(
    run(() => "fine"),
    "fine",
  );
});

test("resources that are left open are closed with the turn", () => {
  let closed = 0;
  run(() => void hold({ [Symbol.dispose]: () => (closed += 1) }));
  assert.equal(closed, 1);
});

test("refusals of the host are errors with the case and its meaning", () => {
  const host = hostOf("sql-error");
  const refuse = (tag, val) => () => {
    throw Object.assign(new Error("x"), { payload: { tag, val } });
  };
  assert.throws(() => host(refuse("key-size", 3000)), { code: "key-size", detail: 3000, message: /3000/ });
  assert.throws(() => host(refuse("full")), { code: "full", detail: null });
  assert.throws(() => host(refuse("constraint", { code: 2067, message: "UNIQUE constraint failed: t.a" })), {
    message: "UNIQUE constraint failed: t.a: SQLITE_CONSTRAINT (extended: SQLITE_CONSTRAINT_UNIQUE)",
  });
  assert.throws(() => host(refuse("a-case-to-come", "words")), { code: "a-case-to-come", message: "words" });
  assert.throws(
    () =>
      host(() => {
        throw new TypeError("a bug");
      }),
    TypeError,
  );
});

test("a turn that fails of a refusal has the failure code of the interface, as in every language", () => {
  const refuse = () => {
    throw Object.assign(new Error("x"), { payload: { tag: "full" } });
  };
  for (const failureCode of ["storage-error", "sql-error", "alarm-error", "websocket-error"]) {
    assert.throws(
      () => hostOf(failureCode)(refuse),
      (error) => error.code === "full" && failure(error).code === failureCode,
    );
  }
});

test("whatever is thrown has a failure", () => {
  assert.deepEqual(failure(new ClassError("sold-out", "none left", { retryable: true })), {
    code: "sold-out",
    message: "none left",
    retryable: true,
  });
  assert.deepEqual(failure(new TypeError("")), { code: "guest-error", message: "TypeError", retryable: false });
  assert.deepEqual(failure(Object.assign(new Error("x"), { code: "NOT A WORD" })).code, "guest-error");
  for (const [thrown, message] of [
    ["text", "text"],
    [5, "5"],
    [null, "null"],
    [undefined, "undefined"],
    [{ message: "like an error" }, "like an error"],
    [Object.create(null), "something that cannot be shown was thrown"],
  ]) {
    assert.equal(failure(thrown).message, message);
  }
});

test("a stack names the class's own lines", () => {
  globalThis[SOURCES] = [
    [1, 0, null],
    [10, 3, "src/index.ts"],
    [20, 0, null],
  ];
  const error = new TypeError("no", { cause: new RangeError("deep") });
  error.stack =
    "    at helper (user.js:12:7)\n    at <anonymous> (user.js:10:1)\n    at run (user.js:25:3)\n    at next (native)\n";
  error.cause.stack = "    at sdk (user.js:3:3)\n";
  assert.equal(
    stackOf(error),
    "TypeError: no\n    at helper (src/index.ts:5)\n    at src/index.ts:3\nCaused by: RangeError: deep",
  );
  delete globalThis[SOURCES];
});

test("every refusal is a ClassError, whatever type of error it is on Durable Objects", () => {
  const of = (tag, ...more) => refusal("websocket-error", tag, ...more);
  for (const [error, type, name] of [
    [of("bad-tag", "too long"), Error, "Error"],
    [of("bad-time"), TypeError, "TypeError"],
    [of("bad-code", 5), DOMException, "InvalidAccessError"],
  ]) {
    assert.ok(error instanceof ClassError && error instanceof type);
    assert.deepEqual([error.name, failure(error).code], [name, "websocket-error"]);
  }
  assert.deepEqual([of("bad-code", 5).code, of("bad-code", 5).detail], ["bad-code", 5]);
  for (const other of [new Error("x"), new TypeError("x"), null, undefined, {}, "x"])
    assert.ok(!(other instanceof ClassError));
  class Mine extends ClassError {}
  assert.ok(new Mine("a", "b") instanceof Mine && !(of("bad-time") instanceof Mine));
});

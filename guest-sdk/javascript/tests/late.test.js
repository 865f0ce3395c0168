// Handlers that are suspended, timers between turns, and what a failure takes with it, on a host in memory.
// `tests/compat/javascript` compares generated programs with workerd.

import assert from "node:assert/strict";
import test from "node:test";

import { hold, keepRows } from "../src/held.js";
import { Promise as OwnPromise } from "../src/promise.js";
import { DurableObjectStorage } from "../src/storage.js";
import { doom, resume, run, waitUntil } from "../src/turn.js";
import { start } from "../src/web/console.js";
import { timers } from "../src/web/timers.js";
import { late, nextResumes, reset, stored } from "./host.js";

start();
const storage = new DurableObjectStorage();
const nap = (milliseconds) => new OwnPromise((resolve) => timers.setTimeout(resolve, milliseconds));
const no = () => {
  throw new Error("no");
};
const ask = (handler) => run(handler, (val) => ({ tag: "response", val }));
const answers = () => late.replies.map(([, { tag, val }]) => (tag === "failed" ? val.message : val));
/** Runs the turns that the host owes, up to so many. */
const goOn = (turns = Infinity) => {
  for (let i = 0; i < turns; i++) {
    const tokens = nextResumes();
    if (tokens.length === 0) return;
    resume(tokens);
  }
};

test("a handler that ends in its turn asks nothing of the host", () => {
  reset();
  const before = late.last;
  assert.equal(
    ask(() => storage.put("a", 1).then(() => "at once")),
    "at once",
  );
  assert.equal(late.last, before);
});

test("a handler that waits is suspended, and others go on", () => {
  reset();
  assert.equal(
    ask(() => nap(20).then(() => "slow")),
    undefined,
  );
  assert.equal(
    ask(() => "quick"),
    "quick",
  );
  assert.deepEqual(answers(), []);
  goOn();
  assert.deepEqual([answers(), late.deferred.size, late.resumes.size], [["slow"], 0, 0]);
});

test("a handler can wait for another one, whose turn answers both, even if it fails", () => {
  for (const end of [() => "told", no]) {
    reset();
    let tell;
    ask(() => new OwnPromise((resolve) => (tell = resolve)));
    const act = () => {
      tell("heard");
      return end();
    };
    const value = ask(act);
    assert.deepEqual(end === no ? [undefined, ["heard", "no"]] : ["told", ["heard"]], [value, answers()]);
    assert.equal(late.deferred.size, 0);
  }
});

test("one that throws takes neither others nor timers with it", () => {
  reset();
  const trace = [];
  ask(() => nap(20).then(() => "slow"));
  assert.throws(
    () =>
      ask(() => {
        timers.setTimeout(() => trace.push("timer"), 5);
        no();
      }),
    { message: "no" },
  );
  assert.equal(stored.keys.size, 0, "it does not have the instance dropped");
  ask(() => nap(10).then(no));
  goOn();
  assert.deepEqual([trace, answers()], [["timer"], ["no", "slow"]]);
});

test("what nobody waits for goes on, and its errors are logged", () => {
  reset();
  const value = ask(() => {
    timers.setTimeout(no, 1);
    waitUntil(nap(5).then(no));
    nap(7).then(() => storage.put("later", 1));
    return "early";
  });
  assert.equal(value ?? answers()[0], "early");
  goOn();
  assert.deepEqual([...stored.keys.keys()], ["later"]);
  assert.deepEqual(
    stored.log.map(({ message }) => /^[^:]*/.exec(message)[0]),
    ["Uncaught in a timer Error"],
  );
});

test("intervals do not hold, repeat until they are cleared, and do not catch up", () => {
  reset();
  let ticks = 0;
  ask(() => {
    const id = timers.setInterval(() => ++ticks === 3 && timers.clearInterval(id), 10);
  });
  assert.deepEqual(
    [...late.resumes.values()].map(({ holds }) => holds),
    [false],
  );
  goOn(10);
  assert.deepEqual([ticks, late.resumes.size], [3, 0]);
});

test("a timer that is cleared is forgotten, and timers beyond the host's limit follow", () => {
  reset();
  let id, ran = 0;
  ask(() => void (id = timers.setTimeout(no, 10)));
  ask(() => timers.clearTimeout(id));
  assert.equal(late.resumes.size, 0);
  ask(() => {
    for (let i = 0; i < 1500; i++) timers.setTimeout(() => (ran += 1), 1 + (i % 7));
  });
  goOn();
  assert.equal(ran, 1500);
});

test("while a transaction is open the handler waits inside its turn", () => {
  reset();
  const value = ask(() => storage.transaction((txn) => txn.put("a", 1).then(() => nap(10))).then(() => "stored"));
  assert.deepEqual([value, late.resumes.size], ["stored", 0]);
  ask(() => void timers.setTimeout(() => storage.transaction(() => new OwnPromise(() => {})), 1));
  assert.throws(() => goOn(), { code: "never-settles" });
  assert.ok(stored.keys.has("\0"), "the instance is dropped");
});

test("an aborted turn has the instance dropped", () => {
  reset();
  assert.throws(
    () =>
      ask(() => {
        throw doom(new Error("enough"));
      }),
    { message: "enough" },
  );
  assert.ok(stored.keys.has("\0"));
});

test("cursors are read ahead when their handler is suspended, and closed with it otherwise", () => {
  reset();
  const kept = [];
  const cursor = { [keepRows]: (room) => (kept.push(room), room - 5) };
  let closed = 0;
  const resource = () => ({ [Symbol.dispose]: () => (closed += 1) });
  ask(() => void hold(resource(), cursor));
  assert.deepEqual([kept, closed], [[], 1]);
  ask(() => {
    hold(resource(), cursor);
    hold(resource(), cursor);
    return nap(1);
  });
  assert.deepEqual([kept, closed], [[8 << 20, (8 << 20) - 5], 3]);
  goOn();
});

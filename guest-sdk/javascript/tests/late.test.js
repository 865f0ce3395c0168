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
import { DurableObjectState, unblocked } from "../src/state.js";
import { WebSocketPair } from "../src/websocket.js";
import { late, nextResumes, reset, sockets, stored } from "./host.js";

start();
const storage = new DurableObjectStorage();
const ctx = new DurableObjectState();
unblocked();
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
  assert.ok(!late.dropped, "it does not have the instance dropped");
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
  assert.ok(late.dropped, "the instance is dropped");
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
  assert.ok(late.dropped && stored.keys.size === 0);
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

test("blockConcurrencyWhile keeps events and timers out in later turns, and its handler goes on after it", () => {
  reset();
  const trace = [];
  const value = ask(() => {
    timers.setTimeout(() => trace.push("outside"), 5);
    const done = ctx.blockConcurrencyWhile(() => nap(10).then(() => trace.push("inside")));
    return done.then(() => trace.push("after")).then(() => "done");
  });
  assert.deepEqual([value, late.exclusive, late.resumes.size], [undefined, true, 1], "the timer outside comes later");
  goOn(1);
  assert.deepEqual([late.exclusive, trace, answers()], [false, ["inside", "after", "outside"], ["done"]]);
  goOn();
  assert.ok(!late.dropped);
});

test("a transaction inside blockConcurrencyWhile ends with its turn", () => {
  reset();
  ask(() => ctx.blockConcurrencyWhile(() => nap(5).then(() => storage.transaction(() => nap(5)))));
  goOn(1);
  assert.deepEqual([late.exclusive, late.resumes.size, answers()], [false, 0, [undefined]]);
});

test("what blockConcurrencyWhile throws has the instance dropped, after its caller was answered", () => {
  reset();
  assert.throws(() => ask(() => ctx.blockConcurrencyWhile(no).catch(() => "handled")), { message: "no" });
  assert.ok(late.dropped);
  reset();
  ask(() => ctx.blockConcurrencyWhile(() => nap(5).then(no)).catch(() => "handled"));
  goOn();
  assert.deepEqual([late.dropped, late.exclusive, answers()], [true, false, ["no"]]);
});

test("one that fails and leaves others out is answered all the same", () => {
  reset();
  const act = () => {
    ctx.blockConcurrencyWhile(() => nap(5));
    no();
  };
  assert.equal(ask(act), undefined);
  assert.deepEqual([late.exclusive, answers()], [true, ["no"]]);
  goOn();
  assert.ok(!late.exclusive && !late.dropped);
});

test("an alarm that aborts in a later turn can say that it is not tried again", () => {
  for (const [retryAlarm, code] of [
    [false, "give-up"],
    [true, "guest-error"],
  ]) {
    reset();
    const alarm = () => nap(5).then(() => ctx.abort(new Error("enough"), { retryAlarm }));
    run(alarm, () => ({ tag: "done" }), { isAlarm: true });
    assert.throws(() => goOn(), { code });
    assert.ok(late.dropped);
  }
});

test("a socket is accepted and used before its handler is answered, in whatever turn that is", () => {
  for (const early of [true, false]) {
    reset();
    const pair = new WebSocketPair();
    const accept = () => {
      ctx.acceptWebSocket(pair[1], ["b", "a", "a"]);
      pair[1].serializeAttachment("early");
    };
    const act = () => {
      if (early) accept();
      return nap(5).then(() => {
        if (!early) accept();
        pair[1].send("hello");
        pair[1].serializeAttachment("attached");
        assert.deepEqual([ctx.getTags(pair[1]), pair[1].deserializeAttachment()], [["a", "b"], "attached"]);
        assert.deepEqual([ctx.getWebSockets("a"), ctx.getWebSockets("c")], [[pair[1]], []]);
        assert.equal(ctx.broadcast("all", "b"), 1);
        return { status: 101 };
      });
    };
    assert.equal(ask(act), undefined);
    // As the host does: a deferred request takes its socket out of the turn.
    const taken = [...sockets.values()];
    sockets.clear();
    const reply = late.replies.push.bind(late.replies);
    late.replies.push = (...all) => (taken.forEach((socket) => sockets.set(socket.id, socket)), reply(...all));
    goOn();
    const [socket] = sockets.values();
    assert.deepEqual(socket.messages, ["hello", "all"]);
    assert.equal(pair[1].deserializeAttachment(), "attached");
    assert.deepEqual(ctx.getWebSockets(), [pair[1]]);
  }
});

test("a socket whose request is answered otherwise is closed", () => {
  reset();
  const pair = new WebSocketPair();
  ask(() => nap(5).then(() => (ctx.acceptWebSocket(pair[1]), pair[1].send("lost"), { status: 404 })));
  goOn();
  assert.deepEqual([pair[1].readyState, ctx.getWebSockets(), sockets.size], [3, [], 0]);
});

test("code of a handler that was answered accepts no socket of another one's request", () => {
  reset();
  let refused;
  const accept = () => ctx.acceptWebSocket(new WebSocketPair()[1]);
  ask(() => {
    timers.setTimeout(() => {
      try {
        accept();
      } catch (error) {
        refused = error.code;
      }
    }, 5);
    return "early";
  });
  goOn();
  assert.deepEqual([refused, sockets.size], ["not-an-upgrade", 0]);
});

test("a socket with listeners holds the instance", () => {
  reset();
  const pair = new WebSocketPair();
  ask(() => (pair[1].accept(), { status: 101 }));
  assert.deepEqual([late.held, ctx.getWebSockets()], [[...sockets.keys()], []]);
  reset();
  const next = new WebSocketPair();
  ask(() => nap(5).then(() => (next[1].accept(), next[1].send("hello"), { status: 101 })));
  goOn();
  assert.deepEqual([late.held, [...sockets.values()][0].messages], [[...sockets.keys()], ["hello"]]);
});

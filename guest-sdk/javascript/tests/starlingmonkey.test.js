// The modules that stand in for others on StarlingMonkey, with the engine of Node.js, which has a queue of jobs and timers, too.

import assert from "node:assert/strict";
import { register } from "node:module";
import test from "node:test";

const hooks = `export async function resolve(specifier, context, next) {
  const { url, ...rest } = await next(specifier, context);
  return { ...rest, url: url.replace(/\\/src\\/(jobs|promise|turn)\\.js$/, "/src/starlingmonkey/$1.js") };
}`;
register(`data:text/javascript,${encodeURIComponent(hooks)}`);
const { waitUntil, run } = await import("../src/turn.js");
const { timers } = await import("../src/web/timers.js");

/** How many timers go on. */
const running = () => process.getActiveResourcesInfo().filter((kind) => kind === "Timeout").length;

test("a turn ends when its promise and what it waits for have settled", async () => {
  const order = [];
  const before = running();
  const value = await run(async () => {
    waitUntil(new Promise((resolve) => timers.setTimeout((what) => resolve(order.push(what)), 1, "background")));
    await null;
    order.push("handler");
    return "value";
  });
  assert.deepEqual([value, order, running()], ["value", ["handler", "background"], before]);
});

test("timers end with their turn", async () => {
  const before = running();
  await run(() => {
    timers.setTimeout(() => {}, 1000);
    timers.setInterval(() => {}, 1000);
    assert.equal(running(), before + 2);
  });
  assert.equal(running(), before);
});

test("what jobs leave after their turn is gone when the next one begins", async () => {
  const before = running();
  await run(() => {
    (async () => {
      for (let i = 0; i < 20; i++) await null;
      timers.setInterval(() => {}, 1000);
    })();
  });
  for (let i = 0; i < 20; i++) await null;
  assert.equal(running(), before + 1);
  await run(() => assert.equal(running(), before));
});

test("what a timer throws does not end the turn", async () => {
  const value = await run(async () => {
    timers.setTimeout(() => {
      throw new Error("in a timer");
    }, 0);
    let ticks = 0;
    await new Promise((resolve) => {
      const id = timers.setInterval(() => ++ticks === 2 && resolve(timers.clearInterval(id)), 1);
    });
    return "survived";
  });
  assert.equal(value, "survived");
});

test("what a handler throws is a failure, and so is what it is doomed by", async () => {
  await assert.rejects(
    run(() => {
      throw new RangeError("at once");
    }),
    { code: "guest-error", message: "at once" },
  );
  const { doom } = await import("../src/turn.js");
  await assert.rejects(
    run(() => void doom(new Error("enough"))),
    { code: "guest-error", message: "enough" },
  );
  assert.equal(await run(() => "fine"), "fine");
});

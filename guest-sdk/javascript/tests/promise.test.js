import assert from "node:assert/strict";
import test from "node:test";

import { drain, enqueue } from "../src/jobs.js";
import { Promise as OwnPromise, takeUnhandled } from "../src/promise.js";

/** What a script logs with the SDK's promises, and with the engine's. */
async function both(script) {
  const own = [];
  script(OwnPromise, (entry) => own.push(entry), enqueue);
  drain();
  const native = [];
  script(Promise, (entry) => native.push(entry), queueMicrotask);
  await new Promise((resolve) => setTimeout(resolve, 1));
  return { own, native };
}

const SCRIPTS = {
  "jobs run in the order of the standard": (P, log, microtask) => {
    P.resolve(1)
      .then((v) => log(`a${v}`))
      .then(() => log("a2"))
      .then(() => log("a3"))
      .then(() => log("a4"));
    P.resolve()
      .then(() => P.resolve("inner"))
      .then((v) => log(v));
    microtask(() => log("m"));
    new P((resolve) => resolve(P.resolve("adopted"))).then(log);
    P.reject("no")
      .catch((e) => log(e))
      .finally(() => log("finally"))
      .then((v) => log(`end ${v}`));
  },
  "a promise settles once": (P, log) => {
    new P((resolve, reject) => {
      resolve(1);
      reject(2);
      resolve(3);
      throw 4;
    }).then(log, log);
  },
  "thenables are adopted": (P, log) => {
    P.resolve({ then: (resolve) => resolve({ then: (_resolve, reject) => reject("deep") }) }).then(log, (e) =>
      log(`rejected ${e}`),
    );
    P.resolve({
      get then() {
        throw "getter";
      },
    }).catch(log);
    let self;
    self = new P((resolve) => P.resolve().then(() => resolve(self)));
    self.catch((e) => log(e.name));
  },
  "combinators answer in order": (P, log) => {
    const late = () => P.resolve().then(() => P.resolve("late"));
    P.all([late(), 2, P.resolve(3)]).then((v) => log(v.join()));
    P.all([]).then((v) => log(v.length));
    P.all([1, P.reject("x"), P.reject("y")]).catch(log);
    P.allSettled([1, P.reject("x")]).then((v) => log(JSON.stringify(v)));
    P.any([P.reject("x"), late()]).then(log);
    P.any([P.reject("x")]).catch((e) => log(`${e.name} ${e.errors}`));
    P.race([late(), P.resolve("first")]).then(log);
    P.all(5).catch((e) => log(e.name));
  },
  "finally passes values and failures on": (P, log) => {
    P.resolve(1)
      .finally(() => 2)
      .then(log);
    P.resolve(1)
      .finally(() => {
        throw 3;
      })
      .catch(log);
    P.reject(4)
      .finally(() => P.resolve(5))
      .catch(log);
  },
};
for (const [name, script] of Object.entries(SCRIPTS)) {
  test(name, async () => {
    const { own, native } = await both(script);
    assert.ok(native.length > 0);
    assert.deepEqual(own, native);
  });
}

test("subclasses make their own kind", () => {
  class Mine extends OwnPromise {}
  assert.ok(Mine.resolve(1).then() instanceof Mine);
  assert.ok(Mine.all([]) instanceof Mine);
  assert.throws(() => OwnPromise(), TypeError);
  assert.throws(() => new OwnPromise(), TypeError);
});

test("rejections that nobody listens to are told once", () => {
  const told = [];
  OwnPromise.reject("lonely");
  OwnPromise.reject("heard").catch(() => {});
  takeUnhandled((reason) => told.push(reason));
  takeUnhandled((reason) => told.push(reason));
  drain();
  assert.deepEqual(told, ["lonely"]);
});

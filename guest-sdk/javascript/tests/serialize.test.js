import assert from "node:assert/strict";
import test from "node:test";
import v8 from "node:v8";

import { deserialize, serialize } from "../src/serialize.js";

const cycle = { name: "ring", items: [1] };
cycle.self = cycle;
cycle.items.push(cycle);
const shared = new Uint8Array([1, 2, 3, 4]);

const VALUES = {
  undefined: undefined,
  null: null,
  booleans: [true, false, Object(true), Object(false)],
  integers: [0, -0, 1, -1, 2 ** 30 - 1, 2 ** 30, -(2 ** 30), 2 ** 31, 2 ** 53, -(2 ** 53)],
  floats: [0.5, -1e300, NaN, Infinity, -Infinity, Object(1.5)],
  bigints: [0n, 1n, -1n, 2n ** 63n, -(2n ** 64n), 123456789012345678901234567890n, Object(5n)],
  strings: ["", "plain", "Grüße", "日本語", "🦀", "\0\x7f\x80\xff", Object("boxed"), "x".repeat(300)],
  dates: [new Date(0), new Date(1767225600123)],
  regexps: [/a+/gi, /ü/u, /x/dsy],
  objects: { a: 1, "": 2, 1: 3, "-1": 4, ["__proto__"]: 5, nested: { deep: [{}] } },
  arrays: [[], [1, [2]], [1, , 3], Object.assign([1, 2], { extra: "x" }), [undefined]],
  maps: new Map([
    ["a", new Map([[{ k: 1 }, null]])],
    [1, new Set([1, "1"])],
  ]),
  buffers: [
    shared.buffer,
    shared,
    new Uint8Array(shared.buffer, 1, 2),
    new Float64Array([0.5, 2]),
    new BigInt64Array([-5n]),
  ],
  views: [new DataView(new ArrayBuffer(3), 1), new Uint8ClampedArray([300]), new Int16Array(0)],
  errors: [new TypeError("no", { cause: { why: 1 } }), new RangeError("r"), new Error()],
  cycle,
};

for (const [name, value] of Object.entries(VALUES)) {
  test(`${name} come back as they were`, () => assert.deepEqual(deserialize(serialize(value)), value));

  test(`V8 reads ${name}`, () => {
    const reader = new v8.Deserializer(Buffer.from(serialize(value)));
    assert.ok(reader.readHeader());
    assert.deepEqual(reader.readValue(), value);
  });

  // Node.js writes views in a form of its own.
  if (name !== "buffers" && name !== "views") {
    test(`${name} of V8 are read`, () => assert.deepEqual(deserialize(new Uint8Array(v8.serialize(value))), value));
  }
}

test("what is shared stays shared", () => {
  const bytes = new Uint8Array(8);
  const copy = deserialize(serialize([bytes, new Uint8Array(bytes.buffer, 4), bytes]));
  copy[0][4] = 7;
  assert.equal(copy[1][0], 7);
  assert.equal(copy[0], copy[2]);
  const ring = deserialize(serialize(cycle));
  assert.equal(ring.items[1], ring);
});

test("instances of classes become plain objects", () => {
  class Point {
    constructor() {
      this.x = 1;
    }
  }
  assert.deepEqual(deserialize(serialize(new Point())), { x: 1 });
});

test("texts keep halves of surrogate pairs, and take two bytes a unit where that is shorter", () => {
  for (const text of ["\ud800", "a\udc00b", "日本語".repeat(50), "x".repeat(100) + "\ud83d"]) {
    assert.equal(deserialize(serialize(text)), text);
    assert.deepEqual(serialize(text), new Uint8Array(v8.serialize(text)));
    assert.deepEqual(deserialize(serialize({ k: text })), { k: text });
  }
  assert.ok(serialize(`${"x".repeat(100)}🦀`).length < 120);
});

test("values are nested as deeply as memory allows", () => {
  const nested = (wrap) => {
    let value = null;
    for (let i = 0; i < 20_000; i++) value = wrap(value);
    return value;
  };
  const unwrap = {
    lists: [(value) => [value], (value) => value[0]],
    objects: [(value) => ({ value }), ({ value }) => value],
    maps: [(value) => new Map([[1, value]]), (value) => value.get(1)],
    sets: [(value) => new Set([value]), (value) => [...value][0]],
    errors: [(value) => new Error("e", { cause: value }), (value) => value.cause],
    "errors with fields": [(value) => Object.assign(new Error("e"), { value }), ({ value }) => value],
  };
  for (const [name, [wrap, inner]] of Object.entries(unwrap)) {
    let depth = 0;
    for (let value = deserialize(serialize(nested(wrap))); value !== null; value = inner(value)) depth += 1;
    assert.equal(depth, 20_000, name);
  }
});

test("errors keep their names and fields", () => {
  class Mine extends RangeError {
    constructor(message) {
      super(message);
      this.name = "Mine";
      this.data = { a: [1] };
    }
  }
  const back = deserialize(serialize({ e: new Mine("m"), same: [1] }));
  assert.deepEqual([back.e.name, back.e.message, back.e.data, back.same], ["Mine", "m", { a: [1] }, [1]]);
  assert.ok(back.e instanceof Error && /Mine|RangeError/.test(back.e.stack));
  const typed = deserialize(serialize(Object.assign(new TypeError("t"), { code: "E", cause: new Mine("in") })));
  assert.deepEqual([typed.constructor, typed.code, typed.cause.name], [TypeError, "E", "Mine"]);
  const all = deserialize(serialize(new AggregateError([new Error("1"), 2], "all")));
  assert.deepEqual([all.name, all.errors[0].message, all.errors[1]], ["AggregateError", "1", 2]);
  const aborted = deserialize(serialize(new DOMException("d", "AbortError")));
  assert.deepEqual([aborted.name, aborted.message, aborted.code], ["AbortError", "d", 20]);
  const ring = Object.assign(new Error("ring"), { list: [] });
  ring.list.push(ring);
  const copy = deserialize(serialize(ring));
  assert.equal(copy.list[0], copy);
});

test("errors that workerd has stored are read", () => {
  const bytes = Uint8Array.from(
    '\xff\x0f\\\n\x00"\x04Mine"\x01mo"\x05stack"$Mine: m\n    at C.fetch (worker:7:78)"\x04codeIT"\x04datao"\x01aA\x01I\x02$\x00\x01{\x01{\x03',
    (unit) => unit.charCodeAt(0),
  );
  const error = deserialize(bytes);
  assert.deepEqual([error.name, error.message, error.code, error.data], ["Mine", "m", 42, { a: [1] }]);
});

test("functions and symbols are refused", () => {
  for (const value of [() => 1, Symbol("s"), { f() {} }, new WeakMap(), new Promise(() => {})]) {
    assert.throws(() => serialize(value), { name: "DataCloneError" });
  }
});

test("bytes that are no value are refused", () => {
  assert.throws(() => deserialize(new Uint8Array([1, 2])), { name: "DataError" });
  assert.throws(() => deserialize(new Uint8Array([0xff, 15, 0x22, 9, 65])), { name: "DataError" });
  assert.throws(() => deserialize(new Uint8Array([0xff, 15])), RangeError);
});

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

// `text.ts` beside Node's TextDecoder. Run in a project whose packages have asc.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { test } from "node:test";
import { pathToFileURL } from "node:url";

const asc = await import(pathToFileURL(resolve("node_modules/assemblyscript/dist/asc.js")));

const ROOM = 64;
const source = `${readFileSync(new URL("../text.ts", import.meta.url), "utf8")}
const INPUT = memory.data(${ROOM});
let decoded = "";
export function input(): usize { return INPUT; }
export function run(size: i32): i32 {
  const bytes = new Uint8Array(size);
  memory.copy(bytes.dataStart, INPUT, size);
  decoded = decode(bytes);
  return decoded.length;
}
export function output(): usize { return changetype<usize>(decoded); }
`;

const { error, binary, stderr } = await asc.compileString(source, { runtime: "stub", optimizeLevel: 3 });
assert.equal(error, null, String(stderr));
const imports = { env: { abort: () => assert.fail("it was aborted") } };
const { memory, input, run, output } = new WebAssembly.Instance(new WebAssembly.Module(binary), imports).exports;

function decode(bytes) {
  new Uint8Array(memory.buffer).set(bytes, input());
  const length = run(bytes.length);
  return String.fromCharCode(...new Uint16Array(memory.buffer, output(), length));
}

const expected = (bytes) => new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes);

test("every sequence of one or two bytes, and what may follow", () => {
  for (let first = 0; first < 256; first++)
    for (let second = 0; second < 256; second++)
      for (const rest of [[], [0x80], [0x80, 0xbf], [0x41], [0x80, 0x41]]) {
        const bytes = Uint8Array.of(first, second, ...rest);
        assert.equal(decode(bytes), expected(bytes), String(bytes));
      }
});

test("random bytes, many of them those that matter", () => {
  const edges = [0x00, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xc2, 0xdf, 0xe0, 0xed, 0xef, 0xf0, 0xf4, 0xf5, 0xff];
  // Marsaglia's xorshift: the same bytes in every run.
  let state = 2463534242;
  const random = (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
  for (let run = 0; run < 20_000; run++) {
    const bytes = Uint8Array.from({ length: random(ROOM) }, () => (random(2) ? edges[random(edges.length)] : random(256)));
    assert.equal(decode(bytes), expected(bytes), String(bytes));
  }
});

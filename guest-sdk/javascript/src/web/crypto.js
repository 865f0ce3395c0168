// `crypto` with what the host gives: random bytes. There is no `subtle`. `Math.random` is seeded anew in each instance,
// because the engine's own was seeded when the class was built.

import random from "wasi:random/random@0.2.0";

import { bytesOf } from "../bytes.js";
import { hasStarted } from "./console.js";

function randomBytes(length) {
  if (!hasStarted())
    throw new Error("Disallowed operation called within global scope: random values are only there in handlers");
  return random.getRandomBytes(length);
}

export const crypto = {
  getRandomValues(view) {
    if (
      !ArrayBuffer.isView(view) ||
      view instanceof DataView ||
      view instanceof Float32Array ||
      view instanceof Float64Array
    ) {
      throw new DOMException("only views of integers can be filled", "TypeMismatchError");
    }
    if (view.byteLength > 65536)
      throw new DOMException(`${view.byteLength} bytes are more than 65536`, "QuotaExceededError");
    bytesOf(view).set(randomBytes(view.byteLength));
    return view;
  },

  randomUUID() {
    const bytes = randomBytes(16);
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    return bytes.toHex().replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
  },

  subtle: {},
};

// Programs look at `subtle` without using it.
for (const method of [
  "decrypt",
  "deriveBits",
  "deriveKey",
  "digest",
  "encrypt",
  "exportKey",
  "generateKey",
  "importKey",
  "sign",
  "unwrapKey",
  "verify",
  "wrapKey",
]) {
  crypto.subtle[method] = async () => {
    throw new DOMException(
      'crypto.subtle has no functions; set "holdfast": { "engine": "starlingmonkey" } in package.json, or bundle a library',
      "NotSupportedError",
    );
  };
}

/** A `Math.random` of this instance: xoshiro128** from a random seed, or from one of four words. */
export function makeRandom(seed = randomBytes(16).slice().buffer) {
  const state = new Uint32Array(seed);
  const rotate = (value, by) => (value << by) | (value >>> (32 - by));
  const next = () => {
    const result = Math.imul(rotate(Math.imul(state[1], 5), 7), 9) >>> 0;
    const mixed = state[1] << 9;
    state[2] ^= state[0];
    state[3] ^= state[1];
    state[1] ^= state[2];
    state[0] ^= state[3];
    state[2] ^= mixed;
    state[3] = rotate(state[3], 11);
    return result;
  };
  return () => ((next() >>> 5) * 2 ** 26 + (next() >>> 6)) / 2 ** 53;
}

// Memory of bytes that come from the host. The engine does not count it, so garbage that holds such bytes, and that
// only a collection of cycles frees, would not start one. Owns: when a collection is started.

/** Bytes since the last collection that start one within a turn, and at its end. */
const AT_ONCE = 8 << 20;
const AT_THE_END = 1 << 20;

let received = 0;

/** The host has given so many bytes. */
export function count(bytes) {
  received += bytes;
  if (received > AT_ONCE) collect();
}

/** A turn has ended. */
export function collectAfterTurn() {
  if (received > AT_THE_END) collect();
}

function collect() {
  received = 0;
  // Only QuickJS has this; other engines count.
  globalThis.__cqjs?.runGc?.();
}

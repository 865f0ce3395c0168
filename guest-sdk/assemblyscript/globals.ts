// What AssemblyScript expects of its surroundings, in place of what a browser would have: `asconfig.json` gives these their names.
import { Date } from "date";

import { Level, log } from "./log";

@external("wasi_snapshot_preview1", "clock_time_get")
declare function clock_time_get(clock: i32, precision: u64, result: usize): i32;
@external("wasi_snapshot_preview1", "random_get")
declare function random_get(at: usize, size: usize): i32;
@external("wasi_snapshot_preview1", "fd_write")
declare function fd_write(fd: i32, slices: usize, count: i32, result: usize): i32;

const WALL_CLOCK = 0;
const MONOTONIC_CLOCK = 1;

const SPACE: usize = memory.data(16, 8);

/** Nanoseconds. */
function clock(which: i32): u64 {
  assert(!clock_time_get(which, 1, SPACE), "there is no clock");
  return load<u64>(SPACE);
}

function fillRandomly(at: usize, size: usize): void {
  assert(!random_get(at, size), "there is no randomness");
}

/** `throw`, a failed assertion, an index out of bounds: the turn ends here, and the log says why and where. */
export function abort(message: string | null = null, file: string | null = null, line: u32 = 0, column: u32 = 0): void {
  const words = message === null ? "aborted" : message;
  log(Level.Error, file === null ? words : `${words} (${file}:${line}:${column})`);
  unreachable();
}

export function trace(message: string, n: i32 = 0, a0: f64 = 0, a1: f64 = 0, a2: f64 = 0, a3: f64 = 0, a4: f64 = 0): void {
  const numbers: f64[] = [a0, a1, a2, a3, a4];
  for (let i = 0; i < min(n, 5); i++) message += ` ${numbers[i]}`;
  log(Level.Trace, message);
}

/** What `Math.random` begins with. */
export function seed(): f64 {
  fillRandomly(SPACE, 8);
  return reinterpret<f64>(load<u64>(SPACE));
}

export namespace crypto {
  export function getRandomValues(array: Uint8Array): void {
    fillRandomly(array.dataStart, array.length);
  }
}

/** `Date`, at the start of this turn. */
export class TurnDate extends Date {
  static now(): i64 {
    return <i64>(clock(WALL_CLOCK) / 1_000_000);
  }
}

export namespace performance {
  export function now(): f64 {
    return <f64>clock(MONOTONIC_CLOCK) / 1e6;
  }
}

export namespace console {
  export function assert<T>(condition: T, message: string = ""): void {
    if (!condition) error(`Assertion failed: ${message}`);
  }

  export function log(message: string = ""): void {
    info(message);
  }

  export function debug(message: string = ""): void {
    entry(Level.Debug, message);
  }

  export function info(message: string = ""): void {
    entry(Level.Info, message);
  }

  export function warn(message: string = ""): void {
    entry(Level.Warn, message);
  }

  export function error(message: string = ""): void {
    entry(Level.Error, message);
  }
}

function entry(level: Level, message: string): void {
  log(level, message);
}

@unmanaged
class Stream {
  /** The host has an entry in the log for each line. */
  write(text: string): void {
    const bytes = String.UTF8.encode(text, false, String.UTF8.ErrorMode.REPLACE);
    store<usize>(SPACE, changetype<usize>(bytes));
    store<usize>(SPACE, bytes.byteLength, 4);
    assert(!fd_write(<i32>changetype<usize>(this), SPACE, 1, SPACE + 8), "the log takes no more");
  }
}

export namespace process {
  export const stdout = changetype<Stream>(1);
  export const stderr = changetype<Stream>(2);

  /** Milliseconds since 1970. */
  export function time(): i64 {
    return TurnDate.now();
  }

  /** Nanoseconds. */
  export function hrtime(): u64 {
    return clock(MONOTONIC_CLOCK);
  }
}

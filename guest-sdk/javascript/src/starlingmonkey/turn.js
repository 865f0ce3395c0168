// In place of `src/turn.js`: this engine runs jobs and timers until the promise of a handler has settled.

import { failure } from "../errors.js";
import { logError } from "../web/console.js";

let background = [];
const resources = new Set();
let fatal;

export function hold(resource) {
  resources.add(resource);
  return resource;
}

export function release(resource) {
  resources.delete(resource);
  resource[Symbol.dispose]?.();
}

export function waitUntil(promise) {
  background.push(promise);
}

export function doom(error) {
  fatal ??= { error };
  return error;
}

export async function run(handler) {
  try {
    const value = await handler();
    for (const promise of background) {
      await Promise.resolve(promise).catch((error) =>
        console.error("a promise given to waitUntil was rejected:", error),
      );
    }
    if (fatal) throw fatal.error;
    return value;
  } catch (error) {
    logError(error);
    throw failure(error);
  } finally {
    resources.forEach(release);
    background = [];
    fatal = undefined;
  }
}

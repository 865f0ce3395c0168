// In place of `src/promise.js`: this engine runs its own jobs, so its own promises will do.

export const Promise = globalThis.Promise;

export async function promised(call) {
  return call();
}

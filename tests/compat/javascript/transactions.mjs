// Generated programs of transactions: two or three, each of which waits, fails, rolls back or nests, and is awaited at
// once, later or not at all, with writes, SQL, alarms and timers beside and inside. `src/transactions.js` runs them.
// What would come in another order on a busy machine, or differs by `docs/languages/javascript.md`, is in none of them.

/** A generator of numbers below a bound, always the same for a seed (xorshift32). */
export function random(seed) {
  let state = (seed * 2654435761) >>> 0 || 1;
  return (bound) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % bound;
  };
}

/** The program of a seed: a list of steps. */
export function programOf(seed) {
  const below = random(seed);
  const pick = (list) => list[below(list.length)];
  const key = () => pick(["a", "b", "c"]);

  const simple = () =>
    pick([
      () => ["put", key()],
      () => ["get", key()],
      () => ["delete", key()],
      () => ["kv.put", key()],
      () => ["sql"],
      () => ["alarm", 1 + below(3)],
      () => ["no alarm"],
      () => ["sync", key(), below(2)],
      () => ["tick"],
    ])();
  const inside = () =>
    pick([() => ["tx.put", key()], () => ["tx.get", key()], () => ["tx.alarm", 1 + below(3)], simple, simple])();
  const nap = () => ["nap", 20 * (1 + below(2))];

  const body = (depth) => {
    const steps = [];
    for (let i = 1 + below(3); i > 0; i--) steps.push(inside());
    if (below(2) === 0) steps.splice(below(steps.length + 1), 0, nap());
    if (depth > 0 && below(3) === 0) steps.splice(below(steps.length + 1), 0, transaction(depth - 1));
    const end = below(5);
    if (end === 0) steps.push(["throw"]);
    if (end === 1) steps.splice(below(steps.length + 1), 0, ["rollback"]);
    return steps;
  };
  const transaction = (depth) => {
    const ways = { 2: ["now", "later", "later", "never"], 1: ["now", "now", "later", "never"] }[depth] ?? ["now"];
    return ["transaction", pick(ways), body(depth)];
  };

  const hasTimers = below(3) === 0;
  const steps = hasTimers
    ? [
        ["timer", 20],
        ["timer", 80],
      ]
    : [];
  for (let i = 2 + below(2); i > 0; i--) {
    if (below(2) === 0) steps.push(simple());
    if (!hasTimers && below(5) === 0) steps.push(nap());
    steps.push(transaction(2));
    if (below(2) === 0) steps.push(simple());
  }
  // A timer that is not waited for ends with its turn here.
  if (hasTimers) steps.push(["nap", 400]);
  return steps;
}

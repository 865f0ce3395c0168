// What happens when the host refuses an operation.

/** Why an operation was refused: a case of the contract (`wit/`), in which each is explained. What was refused changed nothing. */
export class Refusal {
  constructor(
    /** The contract's word for the case, for example `key-size`. */
    readonly name: string,
    /** For people. SQLite's own for `constraint` and `sqlite`. */
    readonly message: string,
    /** SQLite's extended result code, for `constraint` and `sqlite`; else 0. */
    readonly code: i32 = 0,
  ) {}

  toString(): string {
    return this.message.length ? `${this.name}: ${this.message}` : this.name;
  }
}

let holding = false;
let held: Refusal | null = null;

/**
 * A refusal ends the turn, like an uncaught exception. To continue instead, hold it:
 *
 *     refusals.hold();
 *     kv.put(key, value);
 *     const refusal = refusals.take();
 *     if (refusal) return Response.text(refusal.name, 409);
 *
 * An operation that is refused meanwhile does nothing and answers with nothing: null, 0, false, or an empty list.
 */
export namespace refusals {
  /** From here to `take`, refusals do not end the turn. */
  export function hold(): void {
    holding = true;
    held = null;
  }

  /** Ends that, and answers with the first refusal since `hold`; null if there was none. */
  export function take(): Refusal | null {
    const taken = held;
    holding = false;
    held = null;
    return taken;
  }
}

/** The host has refused something. Not for classes. */
export function refuse(refusal: Refusal): void {
  if (!holding) throw new Error(`the host refused: ${refusal.toString()}`);
  if (held === null) held = refusal;
}

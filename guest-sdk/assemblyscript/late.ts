// What goes on after its turn: wit/later.wit.
import { RESULT, Slice, done, lend, lendTexts, readText, storeText } from "./abi";
import { lendHeaders } from "./headers";
import { Failure, Response } from "./http";
import { Refusal, refuse } from "./refusal";
import { Socket } from "./websocket";

@external("holdfast:object/later@0.2.0", "resume-after")
declare function hostResumeAfter(milliseconds: u64, holds: bool, result: usize): void;
@external("holdfast:object/later@0.2.0", "cancel")
declare function hostCancel(token: u64): bool;
@external("holdfast:object/later@0.2.0", "defer")
declare function hostDefer(result: usize): void;
@external("holdfast:object/later@0.2.0", "reply")
declare function hostReply(deferred: u64, kind: u32, a: usize, b: usize, c: usize, d: usize, e: usize, result: usize): void;
@external("holdfast:object/later@0.2.0", "on-gone")
declare function hostOnGone(deferred: u64, result: usize): void;
@external("holdfast:object/later@0.2.0", "accept")
declare function hostAccept(deferred: u64, tags: usize, count: usize, result: usize): void;
@external("holdfast:object/later@0.2.0", "hold-for")
declare function hostHoldFor(socket: u64, result: usize): void;
@external("holdfast:object/later@0.2.0", "exclusive")
declare function hostExclusive(on: bool): void;
@external("holdfast:object/later@0.2.0", "drop-instance")
declare function hostDropInstance(): void;

/** Whether the last call was refused; it is over. The error is at this offset of the result. */
function isRefused(offset: usize): bool {
  if (!load<u8>(RESULT)) {
    done();
    return false;
  }
  const error = RESULT + offset;
  let refusal: Refusal;
  switch (load<u8>(error)) {
    case 0: refusal = new Refusal("too-many", `the instance has ${load<u32>(error, 4)}, as many as it may`); break;
    case 1: refusal = new Refusal("not-deferrable", "the answer of this turn cannot be deferred"); break;
    case 2: refusal = new Refusal("gone", "the answer was given, or its caller has gone"); break;
    case 3: refusal = new Refusal("wrong-kind", "the caller waits for another kind of answer"); break;
    default: refusal = new Refusal("other", readText(error + 4));
  }
  done();
  refuse(refusal);
  return true;
}

function number(): u64 {
  return isRefused(8) ? 0 : load<u64>(RESULT, 8);
}

/** The answer of a turn that is given in a later one. Its caller waits, so keep it in a variable of the file. */
export class Deferred {
  constructor(readonly id: u64) {}

  /** Answers a deferred request, as part of the turn that runs; with a failure it fails, and what this turn writes is kept. */
  respond(response: Response): void {
    if (response instanceof Failure) return this.fail(<Failure>response);
    const headers = lendHeaders(response.headers), body = response.body;
    hostReply(this.id, 0, response.status, headers.at, headers.size, body.dataStart, body.length, RESULT);
    isRefused(4);
  }

  /** Ends a deferred event of a WebSocket or an alarm. */
  done(): void {
    hostReply(this.id, 3, 0, 0, 0, 0, 0, RESULT);
    isRefused(4);
  }

  /** Answers with a failure, as if the deferred handler had returned it. What this turn writes is kept. */
  fail(failure: Failure): void {
    const texts = lend(2 * offsetof<Slice>());
    storeText(texts, failure.code);
    storeText(texts + offsetof<Slice>(), failure.message);
    const code = changetype<Slice>(texts), message = changetype<Slice>(texts + offsetof<Slice>());
    hostReply(this.id, 4, code.at, code.size, message.at, message.size, failure.retryable ? 1 : 0, RESULT);
    isRefused(4);
  }

  /** Accepts the socket that a deferred request asks for. It opens when this is answered with status 101. */
  accept(tags: string[] = []): Socket {
    const list = lendTexts(tags);
    hostAccept(this.id, list.at, list.size, RESULT);
    return new Socket(number());
  }

  /** Resumes this instance when the client has gone that waits for this answer. Answers the token. */
  onGone(): u64 {
    hostOnGone(this.id, RESULT);
    return number();
  }
}

/**
 * Answers that are given in a later turn, and turns at later times (`resume`). A handler that waits for the outside is several turns; each is
 * atomic, and others may come between them. None of it is durable: it ends with the instance, and its callers get `instance-dropped`.
 */
export namespace late {
  /** Defers the answer of the turn that runs: what its handler returns is not sent, unless it is a failure. */
  export function defer(): Deferred {
    hostDefer(RESULT);
    return new Deferred(number());
  }

  /**
   * Resumes this instance in a turn of its own after so many milliseconds. Answers a token, which is never used again. `holds` keeps the instance
   * in memory until then, at most for the `late-seconds` of the class after the last event from outside.
   */
  export function resumeAfter(milliseconds: u64, holds: bool = true): u64 {
    hostResumeAfter(milliseconds, holds, RESULT);
    return number();
  }

  /** Forgets a resume. Answers whether there was one to forget. */
  export function cancel(token: u64): bool {
    return hostCancel(token);
  }

  /** Keeps this instance in memory as long as the socket is open, unless its room is needed; it is closed with 1012 then. */
  export function holdFor(socket: Socket): void {
    hostHoldFor(socket.id, RESULT);
    isRefused(4);
  }

  /** While it is on, only resumes come to this object, and all other events wait: at most 30 s. */
  export function setExclusive(on: bool): void {
    hostExclusive(on);
  }

  /** Has this instance dropped when the turn has ended, whether it succeeds or fails. */
  export function dropInstance(): void {
    hostDropInstance();
  }
}

/** Puts something off until it has not been asked for for a while, such as saving what changes often. */
export class Debounce {
  private token: u64 = 0;
  private isSet: bool = false;

  /** Puts it off until so many milliseconds from now, whatever it was put off to before. */
  putOff(milliseconds: u64): void {
    hostResumeAfter(milliseconds, true, RESULT);
    if (isRefused(8)) return;
    const token = load<u64>(RESULT, 8);
    this.cancel();
    this.token = token;
    this.isSet = true;
  }

  /** Does it no more. Answers whether it was to be done. */
  cancel(): bool {
    const was = this.isSet && hostCancel(this.token);
    this.isSet = false;
    return was;
  }

  /** Whether these tokens of `resume` say that it is to be done now. Once. */
  isDue(tokens: u64[]): bool {
    const due = this.isSet && tokens.includes(this.token);
    if (due) this.isSet = false;
    return due;
  }
}

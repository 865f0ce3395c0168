// Scripts that wait, and commands that are run later.
import { Debounce, Deferred, Failure, Response, encode, kv, late, refusals } from "holdfast";

import { About, Script, refused } from "./script";
import { Words, encodedText } from "./words";

/** Who waits for the end of a script: the client of a request. */
export class Caller {
  /** Answers the end of a script; without `deferred`, in its turn. */
  answer(script: Script, deferred: Deferred | null): void {
    if (deferred) deferred.respond(Response.text(script.answers));
  }
}

/** What a script waits for. */
export class Waits {
  caller: Caller = new Caller();
  deferred: Deferred | null = null;
  /** Whether it waits for `until`. */
  isTimed: bool = false;
  until: u64 = 0;
  isExclusive: bool = false;
  topic: string | null = null;
  /** `gone` comes when the client has gone, which is then stored under the key. */
  goneKey: string | null = null;
  gone: u64 = 0;

  get isWaiting(): bool {
    return this.isTimed || this.topic !== null;
  }
}

/** A command that is to be run. */
class Timer {
  debounce: Debounce = new Debounce();
  command: string = "";
}

let waiting: Script[] = [];
/** These go on when the script that runs has ended, or waits. */
const ready: Script[] = [];
const timers = new Map<string, Timer>();

/** Runs a script and answers its caller, now or in a later turn. */
export function begin(script: Script, caller: Caller): Failure | null {
  script.waits.caller = caller;
  const failure = script.run();
  if (failure) return failure;
  if (script.waits.isWaiting) waiting.push(script);
  else end(script, null);
  goOn();
  return null;
}

function goOn(): void {
  while (ready.length) {
    const script = ready.shift();
    const failure = script.run();
    if (!failure && script.waits.isWaiting) waiting.push(script);
    else end(script, failure);
  }
}

/** Answers the caller of a script, unless it has gone. */
function end(script: Script, failure: Failure | null): void {
  const waits = script.waits, deferred = waits.deferred;
  if (waits.goneKey !== null) late.cancel(waits.gone);
  if (deferred) refusals.hold();
  if (failure) deferred!.fail(failure);
  else waits.caller.answer(script, deferred);
  if (!deferred) return;
  const refusal = refusals.take();
  if (refusal && refusal.name != "gone") throw new Error(refusal.toString());
}

/** Whether the script's answer is deferred. */
function deferred(waits: Waits): bool {
  if (waits.deferred !== null) return true;
  const made = late.defer();
  if (made.id == 0) return false;
  waits.deferred = made;
  return true;
}

function wait(waits: Waits, milliseconds: u64): bool {
  if (!deferred(waits)) return false;
  waits.until = late.resumeAfter(milliseconds);
  waits.isTimed = true;
  return true;
}

/** Lets the scripts go on that wait for a topic. Answers how many. */
function tell(topic: string, told: string): i32 {
  const others: Script[] = [], before = waiting.length;
  for (let i = 0; i < before; i++) {
    const script = waiting[i], waits = script.waits;
    if (waits.topic === null || waits.topic! != topic) {
      others.push(script);
      continue;
    }
    waits.topic = null;
    script.answered.push(encodedText(told));
    ready.push(script);
  }
  waiting = others;
  return before - others.length;
}

/** Runs a command of late work. Answers whether it is one. */
export function lateCommand(script: Script, line: string): bool {
  const words = new Words(line.split(" ")), name = words.next(), waits = script.waits;
  let answer: string | null = "ok";
  refusals.hold();
  if (name == "wait") {
    wait(waits, words.integer());
  } else if (name == "wait-exclusive") {
    waits.isExclusive = wait(waits, words.integer());
    if (waits.isExclusive) late.setExclusive(true);
  } else if (name == "wait-for") {
    if (deferred(waits)) waits.topic = words.text();
    answer = null;
  } else if (name == "tell") {
    answer = tell(words.text(), words.text()).toString();
  } else if (name == "later") {
    const milliseconds = words.integer(), timer = words.text();
    if (!timers.has(timer)) timers.set(timer, new Timer());
    timers.get(timer).command = words.rest();
    timers.get(timer).debounce.putOff(milliseconds);
  } else if (name == "cancel") {
    const timer = words.text();
    answer = (timers.has(timer) && timers.get(timer).debounce.cancel()).toString();
    timers.delete(timer);
  } else if (name == "on-gone") {
    if (deferred(waits)) waits.gone = waits.deferred!.onGone();
    waits.goneKey = words.text();
  } else {
    refusals.take();
    return false;
  }
  const refusal = refusals.take();
  if (refusal) answer = refused(refusal);
  if (answer !== null) script.answered.push(answer);
  return true;
}

/** Resumes what is due. */
export function resumed(tokens: u64[]): Failure | null {
  for (let i = 0; i < tokens.length; i++) resumeOne(tokens[i]);
  goOn();
  return null;
}

function resumeOne(token: u64): void {
  for (let i = 0; i < waiting.length; i++) {
    const script = waiting[i], waits = script.waits;
    const isDue = waits.isTimed && waits.until == token;
    if (!isDue && (waits.goneKey === null || waits.gone != token)) continue;
    waiting.splice(i, 1);
    if (!isDue) {
      kv.put(waits.goneKey!, encode("gone"));
      return;
    }
    if (waits.isExclusive) late.setExclusive(false);
    waits.isExclusive = false;
    waits.isTimed = false;
    ready.push(script);
    return;
  }
  const names = timers.keys();
  for (let i = 0; i < names.length; i++) {
    const timer = timers.get(names[i]);
    if (!timer.debounce.isDue([token])) continue;
    timers.delete(names[i]);
    const failure = new Script("", new About()).command(timer.command);
    if (failure) console.error(failure.message);
    return;
  }
}

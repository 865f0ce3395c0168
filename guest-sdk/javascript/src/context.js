// Sections: a transaction, or what `blockConcurrencyWhile` runs. Owns: to which handler and section running code
// belongs, which section is open, and what waits until its own section is the innermost one. Promises, microtasks and
// timers carry the context of the code that made them, so code belongs to its handler and section wherever it goes on.
//
// What must stay true: only code of the innermost open section touches storage. Sections begin and end between jobs,
// never inside one. A transaction ends with its turn; other sections may span turns.

/**
 * The context of the code that runs: its section, or the handler (`turn.js`) if it is in none; undefined outside of
 * both. Each job sets it before it runs.
 */
export let current;

let innermost;
let waiting = [];

/**
 * Called when something waits, or what waited may go on; and once when nothing is open or waits. For engines with a
 * queue of their own.
 */
let changed = () => {};
let whenIdle = [];

/** A section. Code that goes on after its end belongs to the section around it. */
class Section {
  ended = false;

  constructor(parent, handler, spansTurns) {
    this.parent = parent;
    this.handler = handler;
    this.spansTurns = spansTurns;
  }
}

/** The context of a handler's code outside of sections: like a section that is over, with nothing around it. */
export class Root {
  ended = true;
  parent = undefined;

  get handler() {
    return this;
  }
}

/** The code that runs from here on has this context. */
export function enter(context) {
  current = context;
}

/** Whether code of a section may touch storage now. */
export function mayRun(section) {
  return openOf(section) === innermost;
}

/** Whether a section is another one or inside it. */
export function isInside(section, outer) {
  for (; section !== undefined; section = section.parent) if (section === outer) return true;
  return false;
}

/** Begins a section inside that of the running code. Whether it may still be open when its turn ends. */
export function begin(spansTurns = false) {
  innermost = current = new Section(openOf(current), current?.handler, spansTurns);
  return innermost;
}

/** Ends the innermost section. What waits inside it comes before what waits around it. */
export function end(section) {
  section.ended = true;
  innermost = section.parent;
  const isInner = (entry) => entry.section === section;
  waiting = [...waiting.filter(isInner), ...waiting.filter((entry) => !isInner(entry))];
  settled();
}

/**
 * Has a function called, between two jobs, when the section is the innermost one; in the order of calls. It must not
 * throw.
 */
export function wait(run, context = current) {
  waiting.push({ section: openOf(context), context, run });
  changed();
}

/** Has a function called whenever something waits, or may go on. */
export function onWait(call) {
  changed = call;
}

/** Calls a function when no section is open and nothing waits. */
export function idle(call) {
  whenIdle.push(call);
  settled();
}

function settled() {
  if (isBusy()) return changed();
  for (const call of whenIdle.splice(0)) call();
}

/** What has waited longest of what may run now; undefined if there is nothing. It stays in the queue. */
export function firstWaiting() {
  return waiting.find(({ section }) => mayRun(section));
}

/** Runs what has waited, in its section. */
export function runWaiting(entry) {
  waiting.splice(waiting.indexOf(entry), 1);
  current = entry.context;
  entry.run();
  settled();
}

/** Whether a section is open or waits to begin, or something waits for one to end. */
export function isBusy() {
  return innermost !== undefined || waiting.length > 0;
}

/** Whether a section is open. */
export function isOpen() {
  return innermost !== undefined;
}

/** Whether the turn cannot end: a section is open that ends with it, or something has waited and may run. */
export function mustGoOn() {
  for (let section = innermost; section !== undefined; section = section.parent) if (!section.spansTurns) return true;
  return firstWaiting() !== undefined;
}

/** Whatever was open is not any more: the instance is dropped, or its engine keeps nothing between turns. */
export function leaveAll() {
  for (let section = innermost; section !== undefined; section = section.parent) section.ended = true;
  innermost = current = undefined;
  waiting = [];
  whenIdle = [];
}

function openOf(section) {
  while (section?.ended) section = section.parent;
  return section;
}

// Stack traces in terms of the sources that the class was written in. The build leaves a table of which line of the
// bundle comes from where; frames of the SDK and of the engine are left out.

/**
 * Where the build leaves its table: a list of `[line of the bundle, line of the source, source]`, each for itself and
 * the lines after it.
 */
export const SOURCES = Symbol.for("holdfast.sources");

// `    at name (file:line:column)` of QuickJS, `name@file:line:column` of StarlingMonkey.
const FRAME = /^\s*(?:at )?(?:(.*?)[ @])?\(?[^()\s@]*?:(\d+)(?::\d+)?\)?$/;

/** In V8's form: the error first, then its stack, then its cause. */
export function stackOf(error) {
  const frames = String(error.stack).split("\n").map(frame).filter(Boolean);
  const cause = error.cause instanceof Error ? `\nCaused by: ${stackOf(error.cause)}` : "";
  return [title(error), ...frames].join("\n") + cause;
}

/** An error in one line, whatever its name and message are. */
export function title(error) {
  const { name, message } = error;
  return message === undefined || message === "" ? String(name) : `${String(name)}: ${String(message)}`;
}

function frame(text) {
  const [, name, line] = FRAME.exec(text) ?? [];
  const place = line && placeOf(Number(line));
  if (!place) return undefined;
  const called = name?.replace(/^async\*/, "async ").replace(/\/?<+$/, "");
  return called && called !== "<anonymous>" ? `    at ${called} (${place})` : `    at ${place}`;
}

function placeOf(line) {
  const entry = globalThis[SOURCES]?.findLast(([first]) => first <= line);
  return entry?.[2] && `${entry[2]}:${entry[1] + line - entry[0]}`;
}

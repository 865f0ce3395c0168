// Stack traces in terms of the sources that the class was written in. The build leaves a table of which line of the
// bundle comes from where; frames of the SDK and of the engine are left out.

/**
 * Where the build leaves its table: a list of `[line of the bundle, line of the source, source]`, each for itself and
 * the lines after it.
 */
export const SOURCES = Symbol.for("holdfast.sources");

// `    at name (file:line:column)` of QuickJS, `name@file:line:column` of StarlingMonkey.
const FRAME = /^\s*(?:at )?(?:(.*?)[ @])?\(?[^()\s@]*?:(\d+)(?::\d+)?\)?$/;

let isInstalled = false;

/**
 * Has the stacks of errors be in V8's form: the error first, then the functions that were running. For engines that
 * ask.
 */
export function install() {
  isInstalled = true;
  Error.prepareStackTrace = (error, sites) => {
    try {
      const frames = sites.map((site) => framed(site.getFunctionName(), site.getLineNumber())).filter(Boolean);
      return [title(error), ...frames].join("\n");
    } catch {
      return "";
    }
  };
}

/** An error with its stack, and its cause. */
export function stackOf(error) {
  const lines = String(error.stack).split("\n");
  const frames = isInstalled ? lines.filter((line) => line.startsWith("    at ")) : lines.map(frame).filter(Boolean);
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
  return framed(name, line && Number(line));
}

function framed(name, line) {
  const place = line && placeOf(line);
  if (!place) return undefined;
  const called = name?.replace(/^async\*/, "async ").replace(/\/?<+$/, "");
  return called && called !== "<anonymous>" ? `    at ${called} (${place})` : `    at ${place}`;
}

function placeOf(line) {
  const entry = entryOf(line);
  return entry?.[2] && `${entry[2]}:${entry[1] + line - entry[0]}`;
}

/** The last entry of the table that does not begin after a line. */
function entryOf(line) {
  const table = globalThis[SOURCES] ?? [];
  let [low, high] = [0, table.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (table[middle][0] <= line) low = middle + 1;
    else high = middle;
  }
  return table[low - 1];
}

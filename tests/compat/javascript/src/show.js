// Values as JSON that distinguishes their types, so that two hosts can be compared.

export function show(value, seen = []) {
  if (value === undefined) return "undefined";
  if (typeof value === "bigint") return `${value}n`;
  if (typeof value === "number" && (!Number.isFinite(value) || Object.is(value, -0)))
    return `number ${Object.is(value, -0) ? "-0" : value}`;
  if (typeof value !== "object" || value === null) return value;
  if (seen.includes(value)) return `cycle ${seen.indexOf(value)}`;
  const path = [...seen, value];
  const inner = (item) => show(item, path);
  if (value instanceof Date) return { Date: Number.isNaN(value.getTime()) ? "invalid" : value.toISOString() };
  if (value instanceof Map) return { Map: [...value].map(([key, item]) => [inner(key), inner(item)]) };
  if (value instanceof Set) return { Set: [...value].map(inner) };
  if (value instanceof RegExp) return { RegExp: String(value) };
  if (value instanceof Error) return { [value.name]: value.message };
  if (value instanceof ArrayBuffer) return { ArrayBuffer: [...new Uint8Array(value)] };
  if (ArrayBuffer.isView(value)) return { [value.constructor.name]: Array.from(value, inner) };
  if (Array.isArray(value)) return Array.from(value, inner);
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, inner(item)]));
}

/** Returns the result of a function, or what it throws. */
export async function outcome(call) {
  try {
    return show(await call());
  } catch (error) {
    return { thrown: error.message };
  }
}

// The host's interfaces as the SDK knows them, made of those that this engine has: integers of 64 bits are BigInts there, and what
// is absent is undefined. They are another global's objects, so that what is asked of their prototypes has other answers.

/** Functions whose first parameter has 64 bits, by interface. */
const WIDE = {
  alarms: ["set"],
  later: ["accept", "holdFor"],
  websockets: ["tags", "attachment", "setAttachment", "send", "buffered", "close", "autoResponseTime"],
};

export function adapt(raw, name) {
  const adapted = {};
  for (const [key, value] of Object.entries(raw)) {
    const isWide = WIDE[name]?.includes(key);
    adapted[key] = (first, ...rest) =>
      narrow(value(isWide ? BigInt(first) : first, ...(name === "packed-sql" ? rest.map(widen) : rest)));
  }
  return adapted;
}

function widen(parameters) {
  if (!Array.isArray(parameters)) return parameters;
  return parameters.map((value) => (value.tag === "integer" ? { tag: "integer", val: BigInt(value.val) } : value));
}

function narrow(value) {
  if (value === undefined || value === null) return null;
  if (typeof value === "bigint") return Number(value);
  if (Array.isArray(value) || value.constructor?.name === "BigUint64Array") return Array.from(value, narrow);
  if (value.constructor?.name !== "Object") return value;
  return Object.fromEntries(Object.entries(value).map(([key, field]) => [key, narrow(field)]));
}

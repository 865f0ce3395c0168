// `Headers` after the Fetch Standard, without guards: everything here is the class's own to change.

const NAME = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;
const VALUE = /^[\x01-\x09\x0b\x0c\x0e-\xff]*$/;

export class Headers {
  /** Name in lower case to values, in the order of their first appearance. */
  #lists = new Map();

  constructor(init) {
    if (init === undefined || init === null) return;
    if (typeof init !== "object") throw new TypeError("headers are an object, a list of pairs or Headers");
    const pairs = typeof init[Symbol.iterator] === "function" ? init : Object.entries(init);
    for (const pair of pairs) {
      const [name, value, ...more] = pair;
      if (value === undefined || more.length > 0) throw new TypeError("each header is a name and a value");
      this.append(name, value);
    }
  }

  append(name, value) {
    const key = checkName(name);
    const list = this.#lists.get(key);
    if (list) list.push(checkValue(value));
    else this.#lists.set(key, [checkValue(value)]);
  }

  delete(name) {
    this.#lists.delete(checkName(name));
  }

  get(name) {
    return this.#lists.get(checkName(name))?.join(", ") ?? null;
  }

  getSetCookie() {
    return [...(this.#lists.get("set-cookie") ?? [])];
  }

  has(name) {
    return this.#lists.has(checkName(name));
  }

  set(name, value) {
    this.#lists.set(checkName(name), [checkValue(value)]);
  }

  forEach(callback, self) {
    for (const [name, value] of this) callback.call(self, value, name, this);
  }

  *entries() {
    for (const name of [...this.#lists.keys()].sort()) {
      if (name === "set-cookie") for (const value of this.getSetCookie()) yield [name, value];
      else yield [name, this.get(name)];
    }
  }

  *keys() {
    for (const [name] of this) yield name;
  }

  *values() {
    for (const [, value] of this) yield value;
  }

  [Symbol.iterator]() {
    return this.entries();
  }
}
Object.defineProperty(Headers.prototype, Symbol.toStringTag, { value: "Headers", configurable: true });

function checkName(name) {
  const text = String(name);
  if (!NAME.test(text)) throw new TypeError(`Invalid header name: ${JSON.stringify(text)}`);
  return text.toLowerCase();
}

function checkValue(value) {
  const text = String(value).replace(/^[\t\n\r ]+|[\t\n\r ]+$/g, "");
  if (!VALUE.test(text)) throw new TypeError("a header's value is ISO 8859-1 without NUL and line breaks");
  return text;
}

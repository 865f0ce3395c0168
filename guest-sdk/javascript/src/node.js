// What the engines have and Node.js 20 has not, for the build, which evaluates a class in Node.js, and for the unit
// tests.

Symbol.dispose ??= Symbol("Symbol.dispose");
Symbol.asyncDispose ??= Symbol("Symbol.asyncDispose");
Uint8Array.fromBase64 ??= (text) => new Uint8Array(Buffer.from(text, "base64"));
Uint8Array.fromHex ??= (text) => new Uint8Array(Buffer.from(text, "hex"));
Uint8Array.prototype.toBase64 ??= function () {
  return Buffer.from(this).toString("base64");
};
Uint8Array.prototype.toHex ??= function () {
  return Buffer.from(this).toString("hex");
};
globalThis.Iterator ??= {
  from: (iterator) => ({ next: () => iterator.next(), [Symbol.iterator]: () => Iterator.from(iterator) }),
};

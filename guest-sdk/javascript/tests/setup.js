// What the engine of the guest has and Node.js 20 has not, and stand-ins for the host's interfaces, which no unit test calls.

import { register } from "node:module";

Uint8Array.fromBase64 ??= (text) => new Uint8Array(Buffer.from(text, "base64"));
Uint8Array.fromHex ??= (text) => new Uint8Array(Buffer.from(text, "hex"));
Uint8Array.prototype.toBase64 ??= function () {
  return Buffer.from(this).toString("base64");
};
Uint8Array.prototype.toHex ??= function () {
  return Buffer.from(this).toString("hex");
};

const hooks = `export function resolve(specifier, context, next) {
  if (!/^(holdfast|wasi):/.test(specifier)) return next(specifier, context);
  return { url: "data:text/javascript,export default { log() {} }", shortCircuit: true };
}`;
register(`data:text/javascript,${encodeURIComponent(hooks)}`);

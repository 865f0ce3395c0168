// What the engine of the guest has and Node.js 20 has not, and a host in memory.

import { register } from "node:module";

import "../src/node.js";
import { modules } from "./host.js";

globalThis.holdfastTestHost = modules;
const hooks = `export function resolve(specifier, context, next) {
  if (!/^(holdfast|wasi):/.test(specifier)) return next(specifier, context);
  const name = /\\/(.*)@/.exec(specifier)[1];
  return { url: "data:text/javascript,export default globalThis.holdfastTestHost['" + name + "']", shortCircuit: true };
}`;
register(`data:text/javascript,${encodeURIComponent(hooks)}`);

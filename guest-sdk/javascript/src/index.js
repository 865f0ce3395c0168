// What a class imports: `import { DurableObject } from "holdfast"`, or unchanged from "cloudflare:workers".

export { ClassError } from "./errors.js";
export { WebSocketPair, WebSocketRequestResponsePair } from "./websocket.js";

/** The base of every class. Its constructor runs in the first turn of an instance, before that turn's handler. */
export class DurableObject {
  constructor(ctx, env) {
    this.ctx = ctx;
    this.env = env;
  }
}

/** Here for sources that hold a worker beside their object. Nothing calls it. */
export class WorkerEntrypoint {
  constructor(ctx, env) {
    this.ctx = ctx;
    this.env = env;
  }
}

/** Here for sources that import it. Objects have no methods that others could call. */
export class RpcTarget {}

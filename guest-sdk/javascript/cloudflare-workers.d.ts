// What "cloudflare:workers" is on this host: the same.

declare module "cloudflare:workers" {
  export { DurableObject, RpcTarget, WebSocketPair, WebSocketRequestResponsePair, WorkerEntrypoint } from "holdfast";
}

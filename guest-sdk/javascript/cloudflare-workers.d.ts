// What "cloudflare:workers" is on this host: the same.

declare module "cloudflare:workers" {
  export { DurableObject } from "holdfast";
}

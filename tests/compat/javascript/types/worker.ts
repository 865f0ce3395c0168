// Compiled, not run: a source that names only "cloudflare:workers" has all types, too.

import { DurableObject, WorkerEntrypoint } from "cloudflare:workers";

export class Copying extends DurableObject {
  override async fetch(request: Request): Promise<Response> {
    const answer = new Response(request.body, { headers: { "x-a": "1" } });
    return new Response(answer.body, answer);
  }
}

export default class extends WorkerEntrypoint {
  async fetch(): Promise<Response> {
    return new Response("x");
  }
}

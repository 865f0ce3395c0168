// Compiled, not run: code that the types accept, and code that they must reject.

import { ClassError, DurableObject } from "holdfast";
import { DurableObject as SameObject } from "cloudflare:workers";

interface Person extends Record<string, SqlStorageValue> {
  id: number;
  name: string;
}

export class Room extends DurableObject<{ GREETING: string }> {
  #count = 0;

  constructor(ctx: DurableObjectState, env: { GREETING: string }) {
    super(ctx, env);
    void ctx.blockConcurrencyWhile(async () => {
      this.#count = (await ctx.storage.get<number>("count")) ?? 0;
    });
  }

  override async fetch(request: Request): Promise<Response> {
    const url = new URL(request.url);
    if (request.headers.get("upgrade") === "websocket") {
      const { 0: client, 1: server } = new WebSocketPair();
      this.ctx.acceptWebSocket(server, [url.searchParams.get("name") ?? "anon"]);
      server.serializeAttachment({ joined: new Date() });
      return new Response(null, { status: 101, webSocket: client });
    }
    const people: Person[] = this.ctx.storage.sql
      .exec<Person>("SELECT id, name FROM person WHERE id > ?", 1n)
      .toArray();
    const names: string[] = people.map(({ name }) => name);
    for (const [id] of this.ctx.storage.sql.exec("SELECT 1").raw<[number]>()) id.toFixed();
    const many: Map<string, number> = await this.ctx.storage.get<number>(["a", "b"]);
    const one: number | undefined = this.ctx.storage.kv.get("a");
    await this.ctx.storage.transaction(async (transaction) => transaction.rollback());
    // @ts-expect-error a response's body is text or bytes
    new Response({});
    // @ts-expect-error there is no such option
    await this.ctx.storage.list({ from: "a" });
    if (names.length === 0) throw new ClassError("no-people", "there is nobody", { retryable: true });
    return Response.json({ greeting: this.env.GREETING, names, many: [...many], one, count: this.#count });
  }

  override async alarm({ retryCount }: AlarmInvocationInfo): Promise<void> {
    if (retryCount > 2) await this.ctx.storage.setAlarm(Date.now() + 1000);
  }

  override webSocketMessage(socket: WebSocket, message: string | ArrayBuffer): void {
    socket.send(typeof message === "string" ? message.toUpperCase() : message);
  }
}

export class Same extends SameObject {
  // @ts-expect-error the handler gets a request
  override fetch(request: number): Response {
    return new Response(String(request));
  }
}

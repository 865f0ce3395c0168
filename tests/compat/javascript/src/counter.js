import { DurableObject } from "cloudflare:workers";

export class Counter extends DurableObject {
  constructor(ctx, env) {
    super(ctx, env);
    this.memory = 0;
    ctx.blockConcurrencyWhile(async () => {
      this.value = (await ctx.storage.get("value")) ?? 0;
    });
  }

  async fetch(request) {
    const { pathname, searchParams } = new URL(request.url);
    const by = Number(searchParams.get("by") ?? 1);
    switch (`${request.method} ${pathname}`) {
      case "GET /":
        return new Response(String(this.value));
      case "POST /increment":
        this.value += by;
        await this.ctx.storage.put("value", this.value);
        return Response.json({ value: this.value, memory: ++this.memory });
      case "GET /name":
        return Response.json([
          this.ctx.id.name,
          this.ctx.id.equals(this.ctx.id),
          /^[0-9a-f]{64}$/.test(this.ctx.id.toString()),
        ]);
      default:
        return new Response("no such thing", { status: 404 });
    }
  }
}

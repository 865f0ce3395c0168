// An object that keeps others out while it waits, and WebSockets that are accepted after a wait or have listeners.

import { DurableObject } from "cloudflare:workers";

const UNIT = 60;
const nap = (units) => new Promise((resolve) => setTimeout(resolve, units * UNIT));

export class Waits extends DurableObject {
  trace = [];

  constructor(ctx, env) {
    super(ctx, env);
    this.say = (what) => this.trace.push(what);
    ctx.blockConcurrencyWhile(async () => {
      this.say("begins");
      await nap(2);
      const count = ((await ctx.storage.get("count")) ?? 0) + 1;
      await ctx.storage.put("count", count);
      await nap(1);
      this.say(`has begun for the ${count}.`);
    });
    this.say("is made");
  }

  async fetch(request) {
    const url = new URL(request.url);
    const name = url.searchParams.get("name");
    switch (url.pathname) {
      case "/trace":
        return Response.json(this.trace);
      case "/say":
        this.say(name);
        return new Response(name);
      case "/deep":
        return this.deep();
      case "/block":
        return this.block(url.searchParams);
      case "/socket":
        return this.socket(url.searchParams);
    }
    return new Response(null, { status: 404 });
  }

  /** As deep as programs go, and once too deep. */
  async deep() {
    const plain = (levels) => (levels === 0 ? 0 : 1 + plain(levels - 1));
    const asynchronous = async (levels) => (levels === 0 ? 0 : 1 + (await asynchronous(levels - 1)));
    let nested = [];
    for (let level = 0; level < 2000; level++) nested = level % 2 ? [nested] : { nested };
    await this.ctx.storage.put("nested", nested);
    const stored = JSON.stringify(await this.ctx.storage.get("nested"));
    const generator = function* () {
      yield* generator();
    };
    const object = {
      get again() {
        return `${object.again}`;
      },
    };
    const caught = [() => plain(1e7), () => [...generator()], () => object.again].map((recurse) => {
      try {
        return recurse();
      } catch (error) {
        return error.name;
      }
    });
    const same = stored === JSON.stringify(JSON.parse(stored)) && stored === JSON.stringify(structuredClone(nested));
    return Response.json([plain(5000), await asynchronous(2000), stored.length, same, caught]);
  }

  /** Keeps others out, waiting for it or not, and fails in the end or not. */
  async block(parameters) {
    this.say("block");
    setTimeout(() => this.say("timer"), 2 * UNIT);
    this.ctx.storage.transaction(async () => this.say("transaction"));
    const done = this.ctx.blockConcurrencyWhile(async () => {
      this.say("keeps out");
      await nap(4);
      await this.ctx.storage.transaction(async (txn) => {
        await txn.put("kept", true);
        await nap(1);
      });
      this.say("lets in");
      if (parameters.has("fails")) throw new RangeError("as ordered");
      return "done";
    });
    if (parameters.has("forgets")) {
      done.then(
        () => this.say("settled"),
        () => {},
      );
      return new Response("early");
    }
    try {
      const value = await done;
      this.say("goes on");
      return new Response(value);
    } catch (error) {
      this.say("caught");
      if (parameters.has("catches")) return new Response(error.message);
      throw error;
    }
  }

  async socket(parameters) {
    const [client, server] = Object.values(new WebSocketPair());
    const open = () => {
      if (parameters.has("listens")) {
        server.binaryType = "arraybuffer";
        server.addEventListener("message", ({ data }) => {
          if (data === "close") server.close(4000, "as asked");
          else if (typeof data === "string") setTimeout(() => server.send(`heard ${data}`), 5);
          else server.send(new Uint8Array(data).reverse());
        });
        server.addEventListener("close", ({ code, reason, wasClean }) =>
          this.ctx.storage.put("closed", [code, reason, wasClean]),
        );
        server.accept();
      } else {
        server.serializeAttachment("before");
        this.ctx.acceptWebSocket(server, ["tag"]);
        server.serializeAttachment({ at: "once" });
      }
      server.send("at once");
      server.send(new Uint8Array([1, 2, 3]));
    };
    if (!parameters.has("late")) open();
    await nap(1);
    if (parameters.has("late")) open();
    await nap(1);
    server.send("before it is open");
    if (!parameters.has("listens")) {
      server.send(JSON.stringify([server.deserializeAttachment(), this.ctx.getTags(server), server.readyState]));
      this.ctx.getWebSockets("tag").forEach((each) => each.send("all"));
    }
    if (parameters.has("refuses")) return new Response("no", { status: 403 });
    return new Response(null, { status: 101, webSocket: client });
  }

  async webSocketMessage(socket, message) {
    await nap(1);
    if (message === "close") socket.close(4001, "as asked");
    else socket.send(JSON.stringify([message, socket.deserializeAttachment(), this.ctx.getWebSockets().length]));
  }

  async webSocketClose(_socket, code, reason, wasClean) {
    await this.ctx.storage.put("closed", [code, reason, wasClean]);
  }
}

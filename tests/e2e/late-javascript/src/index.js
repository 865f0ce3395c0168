// What programs for Durable Objects do with timers that they do not await, each in its own words:
//
// * `/document`: a text that its sockets append to, saved some time after the last change, as collaborative editors do.
// * `/table`: a table that starts in a timer of the constructor, and stores its changes in another one.
// * `/canvas`: a room whose sessions remember in their sockets what they have seen, now and then, while an interval looks
//   for those that have gone.
//
// `GET /wait` is answered by `/tell`; `/fail` and `/fail-later` fail; `/timer` stores something later. `/alarm?ms=` sets
// an alarm whose handler waits for so long between its two writes.

import { DurableObject } from "cloudflare:workers";

const nap = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

/** Calls a function some time after the last call. */
function debounced(wait, call) {
  let timer;
  return () => {
    clearTimeout(timer);
    timer = setTimeout(call, wait);
  };
}

/** Calls a function at most once in some time, and a last time after that. */
function throttled(wait, call) {
  let timer;
  return () => {
    timer ??= setTimeout(() => {
      timer = undefined;
      call();
    }, wait);
  };
}

class Document {
  text = "";

  constructor(ctx) {
    this.text = ctx.storage.kv.get("document") ?? "";
    this.save = debounced(1500, async () => {
      await ctx.storage.put("document", this.text);
    });
  }

  heard(_socket, message) {
    this.text += message;
    this.save();
  }
}

class Table {
  rows = new Map();
  early = [];
  isStarted = false;

  constructor(ctx) {
    this.ctx = ctx;
    setTimeout(() => this.start(), 0);
  }

  async start() {
    this.rows = new Map([...(await this.ctx.storage.list({ prefix: "row " })), ...this.rows]);
    this.isStarted = true;
    for (const [key, value] of this.early.splice(0)) this.set(key, value);
  }

  heard(socket, message) {
    const [key, value] = message.split("=");
    if (this.isStarted) this.set(key, value);
    else this.early.push([key, value]);
    setTimeout(() => socket.send(`${this.rows.size} rows`), 0);
  }

  set(key, value) {
    this.rows.set(`row ${key}`, value);
    setTimeout(() => this.ctx.storage.put(`row ${key}`, value), 0);
  }
}

class Canvas {
  sessions = new Map();

  constructor(ctx) {
    this.ctx = ctx;
    for (const socket of ctx.getWebSockets("canvas")) this.sessions.set(socket, socket.deserializeAttachment());
    this.shapes = ctx.storage.kv.get("shapes") ?? 0;
    this.persist = throttled(300, () => ctx.storage.put("shapes", this.shapes));
    this.snapshot = throttled(200, () => {
      for (const [socket, session] of this.sessions) socket.serializeAttachment(session);
    });
    setInterval(() => {
      for (const socket of this.sessions.keys()) if (socket.readyState > 1) this.sessions.delete(socket);
    }, 100);
  }

  heard(socket) {
    const session = this.sessions.get(socket) ?? { seen: 0 };
    session.seen += 1;
    this.shapes += 1;
    this.sessions.set(socket, session);
    this.persist();
    this.snapshot();
    socket.send(`${session.seen} seen of ${this.shapes}`);
  }
}

export class Late extends DurableObject {
  waiting = [];

  constructor(ctx, env) {
    super(ctx, env);
    this.rooms = { document: new Document(ctx), table: new Table(ctx), canvas: new Canvas(ctx) };
  }

  async fetch(request) {
    const { pathname, searchParams } = new URL(request.url);
    const name = pathname.slice(1);
    if (request.headers.get("upgrade") === "websocket") {
      const [client, server] = Object.values(new WebSocketPair());
      this.ctx.acceptWebSocket(server, [name]);
      return new Response(null, { status: 101, webSocket: client });
    }
    switch (name) {
      case "document":
        return new Response(this.rooms.document.text);
      case "stored":
        return Response.json(Object.fromEntries(await this.ctx.storage.list()));
      case "wait":
        return new Response(await new Promise((resolve) => this.waiting.push(resolve)));
      case "waiting":
        return new Response(String(this.waiting.length));
      case "tell":
        for (const resolve of this.waiting.splice(0)) resolve("told");
        return new Response("has told");
      case "fail":
        throw new Error("as ordered");
      case "fail-later":
        await nap(20);
        await this.ctx.storage.put("written", "by one that fails");
        throw new Error("as ordered, later");
      case "timer":
        setTimeout(() => this.ctx.storage.put("timer", "ran"), 300);
        return new Response("set");
      case "alarm":
        await this.ctx.storage.put("wait", Number(searchParams.get("ms")));
        await this.ctx.storage.setAlarm(Date.now());
        return new Response("set");
    }
    return new Response(null, { status: 404 });
  }

  async alarm() {
    const count = async (key) => this.ctx.storage.put(key, ((await this.ctx.storage.get(key)) ?? 0) + 1);
    await count("begun");
    await nap(await this.ctx.storage.get("wait"));
    await count("effects");
  }

  webSocketMessage(socket, message) {
    this.rooms[this.ctx.getTags(socket)[0]].heard(socket, message);
  }
}

// Wrong arguments, and what is said of them: each case is told by its name, as what it returns or the type and the
// message of its error.

import { DurableObject } from "cloudflare:workers";

import { show } from "./show.js";

/** What is called with wrong arguments, by the part of `ctx` that has it. */
const STORAGE = {
  "put()": (s) => s.put(),
  "put(key)": (s) => s.put("key"),
  "put(number, 1)": async (s) => [await s.put(5, 1), await s.get("5")],
  "put(null, 1)": async (s) => [await s.put(null, 1), await s.get("null")],
  "put(symbol, 1)": (s) => kind(() => s.put(Symbol(), 1)),
  "put({ b: undefined })": async (s) => [await s.put({ a: 1, b: undefined }), await s.get(["a", "b"])],
  "put of a function": (s) => kind(() => s.put("f", () => {})),
  "put of a symbol": (s) => kind(() => s.put("s", Symbol("q"))),
  "put of a WeakMap": (s) => s.put("w", new WeakMap()),
  "put of a promise": (s) => s.put("p", Promise.resolve()),
  "put of an instance": async (s) => [
    await s.put(
      "i",
      new (class {
        a = 1;
      })(),
    ),
    await s.get("i"),
  ],
  "get()": (s) => s.get(),
  "get({})": (s) => s.get({}),
  "get([1, null])": (s) => s.get([1, null]),
  "get([symbol])": (s) => kind(() => s.get([Symbol()])),
  "get(set)": (s) => s.get(new Set(["a"])),
  "delete()": (s) => s.delete(),
  "list(5)": (s) => s.list(5),
  "list(text)": (s) => s.list("x"),
  "list(null)": async (s) => (await s.list(null)) instanceof Map,
  "list: limit -1": (s) => s.list({ limit: -1 }),
  "list: limit text": (s) => s.list({ limit: "x" }),
  "list: limit 1.5": async (s) => (await s.list({ limit: 1.5 })).size,
  "list: limit null": (s) => s.list({ limit: null }),
  "list: start and startAfter": (s) => s.list({ start: "a", startAfter: "b" }),
  "list: start number": (s) => s.list({ start: 5, limit: 1 }),
  "setAlarm()": (s) => s.setAlarm(),
  "setAlarm(text)": (s) => s.setAlarm("x"),
  "setAlarm(NaN)": (s) => s.setAlarm(NaN),
  "setAlarm(null)": (s) => s.setAlarm(null),
  "setAlarm(0)": (s) => s.setAlarm(0),
  "setAlarm(-5)": (s) => s.setAlarm(-5),
  "setAlarm(bad date)": (s) => s.setAlarm(new Date("x")),
  "setAlarm(bigint)": (s) => s.setAlarm(10n),
  "setAlarm(symbol)": (s) => s.setAlarm(Symbol()),
  "kv.get()": (s) => s.kv.get(),
  "kv.put(key)": (s) => s.kv.put("k"),
  "kv.put(key, undefined)": (s) => [s.kv.put("k", undefined), s.kv.get("k")],
  "kv.delete()": (s) => s.kv.delete(),
  "kv.list: limit 0": (s) => [...s.kv.list({ limit: 0 })],
  "transaction()": (s) => s.transaction(),
  "transaction(5)": (s) => s.transaction(5),
  "transactionSync()": (s) => s.transactionSync(),
  "deleteAll in a transaction": (s) => s.transaction(() => s.deleteAll()),
  "txn.deleteAll": (s) => s.transaction((txn) => txn.deleteAll()),
  "exec()": (s) => s.sql.exec(),
  "exec of nothing": (s) => s.sql.exec(""),
  "binds an object": (s) => s.sql.exec("SELECT ? a", {}).one(),
  "binds a list": (s) => s.sql.exec("SELECT ? a", [1, 2]).one(),
  "binds booleans": (s) => s.sql.exec("SELECT ? a, typeof(?) b", true, false).one(),
  "binds undefined": (s) => s.sql.exec("SELECT ? a", undefined).one(),
  "binds a symbol": (s) => kind(() => s.sql.exec("SELECT ? a", Symbol())),
  "binds by name": (s) => s.sql.exec("SELECT :id a, typeof(:id) b, @x c", 5, "x").one(),
  "binds by number": (s) => s.sql.exec("SELECT ?2 a, ?1 b", 1, 2).one(),
  "waitUntil()": (_s, ctx) => ctx.waitUntil(),
  "waitUntil(5)": (_s, ctx) => ctx.waitUntil(5),
  "blockConcurrencyWhile()": (_s, ctx) => ctx.blockConcurrencyWhile(),
  "blockConcurrencyWhile(5)": (_s, ctx) => ctx.blockConcurrencyWhile(5),
  "auto-response of text": (_s, ctx) => ctx.setWebSocketAutoResponse("x"),
  "auto-response of an object": (_s, ctx) => ctx.setWebSocketAutoResponse({}),
  "auto-response of null": (_s, ctx) => ctx.setWebSocketAutoResponse(null),
  "auto-response of nothing": (_s, ctx) => ctx.setWebSocketAutoResponse(),
  "a pair of nothing": () => new WebSocketRequestResponsePair(),
  "half a pair": () => new WebSocketRequestResponsePair("a"),
  "a pair of a symbol": () => kind(() => new WebSocketRequestResponsePair(Symbol(), "a")),
  "getWebSockets(5)": (_s, ctx) => ctx.getWebSockets(5).length,
  "getWebSockets(null)": (_s, ctx) => ctx.getWebSockets(null).length,
  "getWebSockets(symbol)": (_s, ctx) => kind(() => ctx.getWebSockets(Symbol())),
  "getTags()": (_s, ctx) => ctx.getTags(),
  "getTags(5)": (_s, ctx) => ctx.getTags(5),
  "getWebSocketAutoResponseTimestamp()": (_s, ctx) => ctx.getWebSocketAutoResponseTimestamp(),
  "getWebSocketAutoResponseTimestamp({})": (_s, ctx) => ctx.getWebSocketAutoResponseTimestamp({}),
  "acceptWebSocket()": (_s, ctx) => ctx.acceptWebSocket(),
  "acceptWebSocket({})": (_s, ctx) => ctx.acceptWebSocket({}),
  "acceptWebSocket: tags are text": (_s, ctx) => ctx.acceptWebSocket(new WebSocketPair()[1], "tag"),
  "acceptWebSocket: tags are null": (_s, ctx) => ctx.acceptWebSocket(new WebSocketPair()[1], null),
  "event timeout of text": (_s, ctx) => ctx.setHibernatableWebSocketEventTimeout("x"),
  "event timeout below 0": (_s, ctx) => ctx.setHibernatableWebSocketEventTimeout(-1),
  "event timeout of 5": (_s, ctx) => [
    ctx.setHibernatableWebSocketEventTimeout(5),
    ctx.getHibernatableWebSocketEventTimeout(),
    ctx.setHibernatableWebSocketEventTimeout(),
  ],
  "id.equals()": (_s, ctx) => ctx.id.equals(),
  "id.equals(text)": (_s, ctx) => ctx.id.equals(String(ctx.id)),
  "id.equals(id)": (_s, ctx) => ctx.id.equals(ctx.id),
  "send before it is accepted": () => new WebSocketPair()[1].send("x"),
  "attachment before it is accepted": () => {
    const socket = new WebSocketPair()[1];
    socket.serializeAttachment({ a: 1 });
    return socket.deserializeAttachment();
  },
};

const SOCKET = {
  "send()": (socket) => socket.send(),
  "send(number)": (socket) => socket.send(5),
  "send(null)": (socket) => socket.send(null),
  "send({})": (socket) => socket.send({}),
  "send(symbol)": (socket) => kind(() => socket.send(Symbol())),
  "close(66536)": (socket) => socket.close(66536),
  "close(65536 + 1000)": (socket) => socket.close(65536 + 1000),
  "close(1005)": (socket) => socket.close(1005),
  "close(999)": (socket) => socket.close(999),
  "close(-1)": (socket) => socket.close(-1),
  "close(5000)": (socket) => socket.close(5000),
  "close(text)": (socket) => socket.close("x"),
  "close(null)": (socket) => socket.close(null),
  "close(NaN)": (socket) => socket.close(NaN),
  "close(bigint)": (socket) => kind(() => socket.close(1000n)),
  "close(undefined, reason)": (socket) => socket.close(undefined, "r"),
  "close with a long reason": (socket) => socket.close(1000, "r".repeat(124)),
  "close with a symbol": (socket) => kind(() => socket.close(1000, Symbol())),
  "serializeAttachment()": (socket) => socket.serializeAttachment(),
  "an attachment of a function": (socket) => kind(() => socket.serializeAttachment(() => {})),
  "an attachment of undefined": (socket) => [socket.serializeAttachment(undefined), socket.deserializeAttachment()],
  addEventListener: (socket) => socket.addEventListener("message", () => {}),
  tags: (socket, ctx) => [ctx.getTags(socket).sort(), ctx.getWebSockets("").length, ctx.getWebSockets("t").length],
};

/** The type of what a call throws, for errors of the engine, whose messages are its own. */
async function kind(call) {
  try {
    await call();
  } catch (error) {
    return `throws ${error.name}`;
  }
  return "returns";
}

async function told(call) {
  try {
    return show(await call());
  } catch (error) {
    return `${error.name}: ${error.message}`;
  }
}

export class Refusals extends DurableObject {
  async fetch(request) {
    const { pathname } = new URL(request.url);
    if (request.headers.get("upgrade") === "websocket") return this.#socket(decodeURIComponent(pathname.slice(1)));
    if (pathname === "/names") return Response.json(Object.keys(SOCKET));
    const told_ = {};
    for (const [name, call] of Object.entries(STORAGE))
      told_[name] = await told(() => call(this.ctx.storage, this.ctx));
    return Response.json(told_);
  }

  async #socket(name) {
    const pair = new WebSocketPair();
    if (name === "accept and close") {
      pair[1].accept();
      pair[1].send("hello");
      pair[1].close(1011, "done");
    } else {
      pair[1].serializeAttachment("before");
      this.ctx.acceptWebSocket(pair[1], ["t", ""]);
      const before = pair[1].deserializeAttachment();
      pair[1].send(JSON.stringify([before, (await told(() => SOCKET[name](pair[1], this.ctx))) ?? null]));
      pair[1].close(1000);
    }
    return new Response(null, { status: 101, webSocket: pair[0] });
  }

  alarm() {}
  webSocketMessage() {}
}

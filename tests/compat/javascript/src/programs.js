// What public programs do, each thing once: at a module's top level, in a class, with messages and with sockets.

import { DurableObject } from "cloudflare:workers";

const BASE = new URL("http://example.com/a");
const { subtle } = crypto;

function logged(value, { name }) {
  return function (...args) {
    return `${name}: ${value.apply(this, args)}`;
  };
}

export class Programs extends DurableObject {
  // A field in place of a method.
  webSocketMessage = async (socket, message) => {
    socket.addEventListener("close", () => {});
    socket.send(`got ${message}`);
  };

  @logged
  hello() {
    return "hi";
  }

  async fetch(request) {
    const { pathname } = new URL(request.url);
    switch (pathname) {
      case "/module":
        return Response.json([BASE.host, typeof subtle, typeof crypto.subtle.digest, this.hello()]);
      case "/using": {
        let disposed = 0;
        {
          using _resource = { [Symbol.dispose]: () => (disposed += 1) };
        }
        return Response.json(disposed);
      }
      case "/copy": {
        const first = new Response("x", { headers: { "x-custom": "1" } });
        const second = new Response(first.body, first);
        second.headers.set("location", "/2");
        return second;
      }
      case "/echo":
        return new Response(request.body, { headers: { "x-custom": request.headers.get("x-custom") } });
      case "/read": {
        let length = 0;
        for await (const chunk of request.body) length += chunk.length;
        return Response.json([length, request.bodyUsed]);
      }
      case "/stack": {
        const [title] = new RangeError("boom").stack.split("\n");
        return new Response(title);
      }
      case "/deep": {
        const plain = (depth) => 1 + plain(depth + 1);
        const later = async (depth) => 1 + (await later(depth + 1));
        const told = ({ name, message }) => `${name}: ${message}`;
        let first;
        try {
          first = plain(0);
        } catch (error) {
          first = told(error);
        }
        return Response.json([first, await later(0).catch(told), this.hello()]);
      }
      case "/socket": {
        const { 0: client, 1: server } = new WebSocketPair();
        this.ctx.acceptWebSocket(server);
        return new Response(null, { status: 101, webSocket: client });
      }
    }
    return new Response("?", { status: 404 });
  }
}

// The same HTTP surface as every other system in this directory: /{class}/{name}.
// `Hello` reads and writes nothing; `Number` keeps one number: POST adds one and answers it, GET reads it. `Socket`
// accepts WebSockets that outlive its memory: text is echoed to its sender, bytes are sent to all sockets of the
// object.
import { DurableObject } from "cloudflare:workers";

export class Hello extends DurableObject {
  fetch() {
    return new Response("hello");
  }
}

export class Number extends DurableObject {
  // In memory only: 1 shows the driver that the object was not live before this request.
  fetches = 0;

  fetch(request) {
    this.fetches += 1;
    const { kv } = this.ctx.storage;
    let n = kv.get("n") ?? 0;
    if (request.method === "POST") {
      n += 1;
      kv.put("n", n);
    }
    return new Response(n.toString(), { headers: { "x-fetches": this.fetches.toString() } });
  }
}

export class Socket extends DurableObject {
  fetch(request) {
    const { 0: client, 1: server } = new WebSocketPair();
    this.ctx.acceptWebSocket(server, [new URL(request.url).pathname]);
    return new Response(null, { status: 101, webSocket: client });
  }

  webSocketMessage(socket, message) {
    if (typeof message === "string") socket.send(message);
    else for (const other of this.ctx.getWebSockets()) other.send(message);
  }
}

export default {
  fetch(request, env) {
    const [, kind, name] = new URL(request.url).pathname.split("/");
    const objects = { hello: env.HELLO, number: env.NUMBER, socket: env.SOCKET }[kind];
    return objects ? objects.get(objects.idFromName(name)).fetch(request) : new Response("no such class", { status: 404 });
  },
};

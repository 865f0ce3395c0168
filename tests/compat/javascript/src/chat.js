import { DurableObject } from "cloudflare:workers";

export class Chat extends DurableObject {
  constructor(ctx, env) {
    super(ctx, env);
    ctx.setWebSocketAutoResponse(new WebSocketRequestResponsePair("ping", "pong"));
  }

  async fetch(request) {
    const url = new URL(request.url);
    if (url.pathname === "/log") return Response.json((await this.ctx.storage.get("log")) ?? []);
    if (request.headers.get("upgrade") !== "websocket") return new Response("expected a WebSocket", { status: 426 });
    const name = url.searchParams.get("name");
    if (name === "mallory") return new Response("no", { status: 403 });
    const [client, server] = Object.values(new WebSocketPair());
    this.ctx.acceptWebSocket(server, [name, "people"]);
    server.serializeAttachment({ name, joined: new Date(0), said: 0 });
    server.send(`welcome ${name}`);
    return new Response(null, { status: 101, webSocket: client });
  }

  async webSocketMessage(socket, message) {
    if (typeof message !== "string") {
      socket.send(new Uint8Array(message).map((byte) => 255 - byte));
      return;
    }
    const me = socket.deserializeAttachment();
    me.said += 1;
    socket.serializeAttachment(me);
    const [command, ...rest] = message.split(" ");
    if (command === "all") {
      for (const other of this.ctx.getWebSockets()) other.send(`${me.name}: ${rest.join(" ")}`);
    } else if (command === "to") {
      for (const other of this.ctx.getWebSockets(rest[0]))
        other.send(`${me.name} whispers: ${rest.slice(1).join(" ")}`);
    } else if (command === "state") {
      const auto = this.ctx.getWebSocketAutoResponse();
      socket.send(
        JSON.stringify([
          me,
          me.joined instanceof Date,
          this.ctx.getTags(socket),
          socket.readyState,
          this.ctx.getWebSockets().length,
          this.ctx.getWebSockets("people").includes(socket),
          auto.request,
          auto.response,
          this.ctx.getWebSocketAutoResponseTimestamp(socket) instanceof Date,
        ]),
      );
    } else if (command === "quit") {
      socket.close(4001, "you asked for it");
    }
  }

  async webSocketClose(socket, code, reason, wasClean) {
    const log = (await this.ctx.storage.get("log")) ?? [];
    log.push([socket.deserializeAttachment().name, code, reason, wasClean]);
    await this.ctx.storage.put("log", log);
    socket.close(code, reason);
  }
}

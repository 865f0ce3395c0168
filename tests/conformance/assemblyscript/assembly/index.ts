// The class of the conformance suite in AssemblyScript: docs/CONFORMANCE.md specifies it.
import { Failure, Message, Request, Response, Socket, decode, decodePercent, encode, kv, object, refusals, sockets } from "holdfast";

import { About, Script, refused } from "./script";
import { encodedText } from "./words";

export function init(): Failure | null {
  const name = object.name();
  if (name !== null && name.startsWith("init")) kv.putInt("inits", kv.getInt("inits") + 1);
  return name == "init-fails" ? new Failure("bad-name", "not to be made") : null;
}

export function fetch(request: Request): Response {
  const path = request.path;
  if (path.startsWith("/echo")) return echo(request);
  if (path.startsWith("/accept/")) return accept(path.substring(8).split("/"));
  if (path.startsWith("/status/")) {
    return new Response(<u16>I32.parseInt(path.substring(8))).header("set-cookie", "a=1").header("set-cookie", "b=2");
  }
  if (path != "/run") return new Response(path == "/refuse" ? 403 : 404);
  const script = new Script(request.text(), new About());
  const failure = script.run();
  return failure ? failure : Response.text(script.answers);
}

export function alarm(scheduled: i64, retryCount: u32): Failure | null {
  note(`alarm ${scheduled} ${retryCount}`);
  const script = kv.getText("on-alarm");
  return script === null ? null : new Script(script, new About(null, true, retryCount)).run();
}

export function webSocketMessage(socket: Socket, message: Message): Failure | null {
  if (message.isBinary) {
    socket.send(message);
    return null;
  }
  const script = new Script(message.text(), new About(socket));
  const failure = script.run();
  if (!failure) socket.sendText(script.answers);
  return failure;
}

export function webSocketClose(socket: Socket, code: u16, reason: string, wasClean: bool): Failure | null {
  note(`close ${code} ${encodedText(reason)} ${wasClean}`);
  return null;
}

export function webSocketError(socket: Socket, what: string): Failure | null {
  note("error");
  return null;
}

/** Adds a line to the recorded events. */
function note(line: string): void {
  const events = kv.getText("events");
  kv.putText("events", `${events === null ? "" : events}${line}\n`);
}

function accept(words: string[]): Response {
  refusals.hold();
  sockets.accept(words.slice(1).map<string>((word) => decode(decodePercent(word))));
  const refusal = refusals.take();
  if (refusal) return Response.text(`${refused(refusal)}\n`, 409);
  const response = new Response(101);
  return words[0] == "-" ? response : response.header("sec-websocket-protocol", words[0]);
}

function echo(request: Request): Response {
  const response = new Response(200, request.body)
    .header("content-type", "application/octet-stream")
    .header("x-method", request.method)
    .header("x-uri", request.uri);
  const values: string[] = [];
  for (let i = 0; i < request.headers.length; i++) {
    if (request.headers[i].name == "x-case") values.push(request.headers[i].value);
  }
  return values.length ? response.header("x-case", values.join(", ")) : response;
}

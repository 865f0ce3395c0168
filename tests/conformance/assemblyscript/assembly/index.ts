// The class of the conformance suite in AssemblyScript: docs/CONFORMANCE.md specifies it.
import {
  Deferred, Failure, Message, Request, Response, Socket, decode, decodePercent, kv, late, object, refusals, sockets,
} from "holdfast";

import { Caller, begin, resumed } from "./late";
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
  if (path.startsWith("/accept/")) return accept(path.substring(8).split("/"), null);
  if (path.startsWith("/accept-held/")) {
    const response = accept(path.substring(13).split("/"), null);
    if (response.status == 101) late.holdFor(newest);
    return response;
  }
  if (path.startsWith("/accept-later/")) {
    const words = path.substring(14).split("/");
    const failure = begin(new Script(`wait ${words[0]}`, new About()), new Accepting(words.slice(1)));
    return failure ? failure : new Response(204);
  }
  if (path.startsWith("/status/")) {
    return new Response(<u16>I32.parseInt(path.substring(8))).header("set-cookie", "a=1").header("set-cookie", "b=2");
  }
  if (path != "/run") return new Response(path == "/refuse" ? 403 : 404);
  const script = new Script(request.text(), new About());
  const failure = begin(script, new Caller());
  return failure ? failure : Response.text(script.answers);
}

/** The client of a request for a socket that is accepted later. */
class Accepting extends Caller {
  constructor(private words: string[]) {
    super();
  }

  answer(script: Script, deferred: Deferred | null): void {
    deferred!.respond(accept(this.words, deferred));
  }
}

/** Whoever waits for the end of an event. */
class EventCaller extends Caller {
  answer(script: Script, deferred: Deferred | null): void {
    const socket = script.about.socket;
    if (socket) socket.sendText(script.answers);
    if (deferred) deferred.done();
  }
}

export function resume(tokens: u64[]): Failure | null {
  return resumed(tokens);
}

export function alarm(scheduled: i64, retryCount: u32): Failure | null {
  note(`alarm ${scheduled} ${retryCount}`);
  const script = kv.getText("on-alarm");
  return script === null ? null : begin(new Script(script, new About(null, true, retryCount)), new EventCaller());
}

export function webSocketMessage(socket: Socket, message: Message): Failure | null {
  if (message.isBinary) {
    socket.send(message);
    return null;
  }
  return begin(new Script(message.text(), new About(socket)), new EventCaller());
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

/** The socket that was accepted last. */
let newest: Socket = new Socket(0);

/** Without `deferred`, the socket of this turn's request. */
function accept(words: string[], deferred: Deferred | null): Response {
  const tags = words.slice(1).map<string>((word) => decode(decodePercent(word)));
  refusals.hold();
  newest = deferred ? deferred.accept(tags) : sockets.accept(tags);
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

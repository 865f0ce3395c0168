// The class of the conformance suite (`docs/CONFORMANCE.md`) in TypeScript, on the engine that has all of the web's classes.

import { ClassError, DurableObject } from "holdfast";

import { decode, encode, readMessage, text, value, writeValue } from "./words";

/** The state of the turn that a script needs. */
interface Turn {
  readonly ctx: DurableObjectState;
  /** How often it was called, by this instance. */
  readonly count: () => number;
  /** Of a message. */
  readonly socket?: WebSocket;
  /** Of an alarm. */
  readonly retryCount?: number;
}

/** Answers a line, or nothing for `ok`. */
type Command = (words: string[], turn: Turn) => Answer | Promise<Answer>;
type Answer = string | number | boolean | void;

export class Conformance extends DurableObject {
  #count = 0;

  constructor(ctx: DurableObjectState, env: Record<string, string>) {
    super(ctx, env);
    const { name } = ctx.id;
    if (name?.startsWith("init")) {
      const { kv } = ctx.storage;
      kv.put("inits", bytes(String(Number(read(kv.get("inits")) || 0) + 1)));
      if (name === "init-fails") throw new ClassError("bad-name", "not to be made");
    }
  }

  override async fetch(request: Request): Promise<Response> {
    const uri = request.url.slice(new URL(request.url).origin.length);
    const [path = ""] = uri.split("?");
    const [, first, ...rest] = path.split("/");
    if (uri.startsWith("/echo")) return echo(request, uri);
    switch (first) {
      case "status":
        return status(Number(rest[0]));
      case "accept":
        return this.#accept(rest);
      case "refuse":
        return new Response(null, { status: 403 });
      case "run":
        return new Response(await this.#run(await request.text()));
      default:
        return new Response(null, { status: 404 });
    }
  }

  override async alarm({ scheduledTime, retryCount }: AlarmInvocationInfo): Promise<void> {
    this.#note(`alarm ${scheduledTime} ${retryCount}`);
    const script = this.ctx.storage.kv.get<Uint8Array>("on-alarm");
    if (script) await this.#run(read(script), { retryCount });
  }

  override async webSocketMessage(socket: WebSocket, message: string | ArrayBuffer): Promise<void> {
    socket.send(typeof message === "string" ? await this.#run(message, { socket }) : message);
  }

  override webSocketClose(_socket: WebSocket, code: number, reason: string, wasClean: boolean): void {
    this.#note(`close ${code} ${encode(reason)} ${wasClean}`);
  }

  override webSocketError(): void {
    this.#note("error");
  }

  #accept([protocol = "-", ...tags]: string[]): Response {
    const { 0: client, 1: server } = new WebSocketPair();
    try {
      this.ctx.acceptWebSocket(server, tags.map(decodeURIComponent));
    } catch (error) {
      return new Response(refusal(error), { status: 409 });
    }
    const headers = new Headers();
    if (protocol !== "-") headers.set("sec-websocket-protocol", protocol);
    return new Response(null, { status: 101, headers, webSocket: client });
  }

  #note(event: string): void {
    const { kv } = this.ctx.storage;
    kv.put("events", bytes(`${read(kv.get("events"))}${event}\n`));
  }

  /** The answers to a script. */
  async #run(script: string, more: Pick<Turn, "socket" | "retryCount"> = {}): Promise<string> {
    const lines = script.split("\n").filter((line) => line !== "");
    const answers = await block(lines, { ctx: this.ctx, count: () => ++this.#count, ...more });
    return answers.map((answer) => `${answer}\n`).join("");
  }
}

async function echo(request: Request, uri: string): Promise<Response> {
  const headers = new Headers({
    "content-type": "application/octet-stream",
    "x-method": request.method,
    "x-uri": uri,
  });
  const conformance = request.headers.get("x-case");
  if (conformance !== null) headers.set("x-case", conformance);
  return new Response(await request.arrayBuffer(), { headers });
}

function status(status: number): Response {
  const headers = new Headers();
  headers.append("set-cookie", "a=1");
  headers.append("set-cookie", "b=2");
  return new Response(null, { status, headers });
}

/** Runs lines up to the end, or to the `end` of a transaction, and takes them off the list. */
async function block(lines: string[], turn: Turn): Promise<string[]> {
  const answers: string[] = [];
  for (let line = lines.shift(); line !== undefined; line = lines.shift()) {
    let [name = "", ...words] = line.split(" ");
    if (name === "end") break;
    const isCaught = name !== "uncaught";
    if (!isCaught) [name = "", ...words] = words;
    if (name === "transaction") {
      answers.push(...(await transaction(words[0] === "undo", lines, turn)));
      continue;
    }
    const command = COMMANDS.get(name);
    if (!command) throw new ClassError("bad-script", `there is no command ${name}`);
    try {
      answers.push(String((await command(words, turn)) ?? "ok"));
    } catch (error) {
      if (!isCaught) throw error;
      answers.push(refusal(error));
    }
  }
  return answers;
}

async function transaction(isUndone: boolean, lines: string[], turn: Turn): Promise<string[]> {
  return turn.ctx.storage.transaction(async (inside) => {
    const answers = await block(lines, turn);
    if (isUndone) inside.rollback();
    return [...answers, isUndone ? "undone" : "kept"];
  });
}

/** The answer for a refusal of the host; other errors are thrown again. */
function refusal(error: unknown): string {
  if (!(error instanceof ClassError) || error.detail === undefined) throw error;
  if (!isOfSqlite(error.detail)) return `error ${error.code}`;
  return `error ${error.code} ${error.detail.code} ${encode(error.detail.message)}`;
}

function isOfSqlite(detail: unknown): detail is { code: number; message: string } {
  return typeof detail === "object" && detail !== null && "code" in detail && "message" in detail;
}

const bytes = (string: string): Uint8Array => new TextEncoder().encode(string);
const read = (stored: Uint8Array | undefined): string => (stored ? new TextDecoder().decode(stored) : "");
const pairs = (entries: Iterable<[string, Uint8Array]>): string =>
  [...entries].map(([key, stored]) => `${encode(key)} ${encode(stored)}`).join(" ");
const some = (stored: Uint8Array | null | undefined): string => (stored ? `some ${encode(stored)}` : "none");

function socketOf(word: string, { ctx, socket }: Turn): WebSocket {
  const found = word === "@" ? socket : ctx.getWebSockets(text(word))[0];
  if (!found) throw new ClassError("unknown-socket", "there is none", { detail: null });
  return found;
}

function listOptions(words: string[]): DurableObjectListOptions {
  const options: DurableObjectListOptions = {};
  for (const word of words) {
    const [name, given = ""] = word.split("=");
    if (name === "reverse") options.reverse = true;
    else if (name === "limit") options.limit = Number(given);
    else if (name === "start-after") options.startAfter = text(given);
    else if (name === "start" || name === "end" || name === "prefix") options[name] = text(given);
  }
  return options;
}

const LEVELS = ["trace", "debug", "info", "warn", "error"] as const;

function log([level, entry = "", ...words]: string[]): void {
  const fields: Record<string, string> = {};
  for (let i = 0; i < words.length; i += 2) fields[text(words[i] ?? "")] = text(words[i + 1] ?? "");
  const method = LEVELS.find((known) => known === level);
  if (!method) throw new ClassError("bad-script", `there is no level ${level}`);
  console[method]("%s", text(entry), fields);
}

function failDeeply(reason: string): never {
  throwDeeper(reason);
}

function throwDeeper(reason: string): never {
  throw new Error(reason);
}

const COMMANDS: ReadonlyMap<string, Command> = new Map<string, Command>([
  ["id", (_, { ctx }) => encode(ctx.id.toString())],
  ["name", (_, { ctx }) => (ctx.id.name === undefined ? "none" : `some ${encode(ctx.id.name)}`)],
  ["class", (_, { ctx }) => encode(ctx.className)],
  ["count", (_, { count }) => count()],

  ["get", ([key = ""], { ctx }) => some(ctx.storage.kv.get<Uint8Array>(text(key)))],
  ["put", ([key = "", stored = ""], { ctx }) => ctx.storage.kv.put(text(key), decode(stored))],
  ["delete", ([key = ""], { ctx }) => ctx.storage.kv.delete(text(key))],
  ["get-many", async (keys, { ctx }) => pairs(await ctx.storage.get<Uint8Array>(keys.map(text)))],
  [
    "put-many",
    (words, { ctx }) => {
      const entries: Record<string, Uint8Array> = {};
      for (let i = 0; i < words.length; i += 2) entries[text(words[i] ?? "")] = decode(words[i + 1] ?? "");
      return ctx.storage.put(entries);
    },
  ],
  ["delete-many", (keys, { ctx }) => ctx.storage.delete(keys.map(text))],
  ["list", (words, { ctx }) => pairs(ctx.storage.kv.list<Uint8Array>(listOptions(words)))],

  [
    "sql",
    ([query = "", ...parameters], { ctx }) => {
      const cursor = ctx.storage.sql.exec(text(query), ...parameters.map(value));
      const rows = [...cursor.raw()].flat();
      return [cursor.columnNames.length, ...cursor.columnNames.map(encode), ...rows.map(writeValue)].join(" ");
    },
  ],
  [
    "sql-changes",
    ([query = "", ...parameters], { ctx: { storage } }) => {
      const { rowsWritten } = storage.sql.exec(text(query), ...parameters.map(value));
      const { rowid } = storage.sql.exec<{ rowid: number }>("SELECT last_insert_rowid() AS rowid").one();
      return `${rowsWritten} ${rowid}`;
    },
  ],
  [
    "sql-sum",
    ([query = "", ...parameters], { ctx }) => {
      let [rows, sum] = [0, 0];
      for (const [first] of ctx.storage.sql.exec(text(query), ...parameters.map(value)).raw<[number]>()) {
        rows += 1;
        sum += first;
      }
      return `${rows} ${sum}`;
    },
  ],

  ["size", (_, { ctx }) => ctx.storage.sql.databaseSize],
  ["delete-all", (_, { ctx }) => ctx.storage.deleteAll()],
  ["sync", (_, { ctx }) => ctx.storage.sync()],

  [
    "alarm-get",
    async (_, { ctx }) => {
      const time = await ctx.storage.getAlarm();
      return time === null ? "none" : `some ${time}`;
    },
  ],
  ["alarm-set", ([time], { ctx }) => ctx.storage.setAlarm(Number(time))],
  ["alarm-delete", (_, { ctx }) => ctx.storage.deleteAlarm()],

  ["sockets", ([tag], { ctx }) => ctx.getWebSockets(tag === undefined ? tag : text(tag)).length],
  ["tags", ([socket = ""], turn) => turn.ctx.getTags(socketOf(socket, turn)).map(encode).join(" ")],
  ["attach", ([socket = "", attachment = ""], turn) => socketOf(socket, turn).serializeAttachment(decode(attachment))],
  ["attachment", ([socket = ""], turn) => some(socketOf(socket, turn).deserializeAttachment<Uint8Array>())],
  ["send", ([socket = "", message = ""], turn) => socketOf(socket, turn).send(readMessage(message))],
  [
    "broadcast",
    ([message = "", tag], { ctx }) => ctx.broadcast(readMessage(message), tag === undefined ? tag : text(tag)),
  ],
  ["close", ([socket = "", code, reason = ""], turn) => socketOf(socket, turn).close(Number(code), text(reason))],
  [
    "auto-response",
    ([request, response = ""], { ctx }) =>
      request === undefined
        ? ctx.setWebSocketAutoResponse()
        : ctx.setWebSocketAutoResponse(new WebSocketRequestResponsePair(text(request), text(response))),
  ],

  [
    "fail",
    ([code = "", reason = "", retryable]) => {
      throw new ClassError(text(code), text(reason), { retryable: retryable === "true" });
    },
  ],
  [
    "fail-before",
    ([attempts], { retryCount = 0 }) => {
      if (retryCount < Number(attempts)) throw new ClassError("too-early", "not yet");
    },
  ],
  ["throw", ([reason = ""]) => failDeeply(text(reason))],

  ["log", (words) => log(words)],
  ["print", ([line = ""]) => console.log("%s", text(line))],
  ["print-error", ([line = ""]) => console.error("%s", text(line))],
  ["now", () => Date.now()],
  ["random", () => `${Math.random()} ${Math.random()}`],
]);

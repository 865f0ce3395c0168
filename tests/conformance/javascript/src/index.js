// The class of the conformance suite (`docs/CONFORMANCE.md`) in JavaScript.

import { ClassError, DurableObject, WebSocketPair } from "holdfast";

import { decode, encode, readMessage, text, value, writeValue } from "./words.js";

export class Conformance extends DurableObject {
  constructor(ctx, env) {
    super(ctx, env);
    this.count = 0;
    /** What goes on with the scripts that wait for a topic. */
    this.topics = new Map();
    /** The timers of `later`, by name. */
    this.timers = new Map();
    if (ctx.id.name?.startsWith("init")) {
      const { kv } = ctx.storage;
      kv.put("inits", bytes(String(Number(read(kv.get("inits")) || 0) + 1)));
      if (ctx.id.name === "init-fails") throw new ClassError("bad-name", "not to be made");
    }
  }

  async fetch(request) {
    const uri = request.url.slice(new URL(request.url).origin.length);
    const [, first, ...rest] = uri.split("?")[0].split("/");
    if (uri.startsWith("/echo")) return this.echo(request, uri);
    if (first === "status") {
      const headers = [
        ["set-cookie", "a=1"],
        ["set-cookie", "b=2"],
      ];
      return new Response(null, { status: Number(rest[0]), headers });
    }
    if (first === "accept") return this.accept(rest);
    if (first === "accept-held") {
      const { 0: client, 1: server } = new WebSocketPair();
      server.accept();
      return new Response(null, { status: 101, webSocket: client });
    }
    if (first === "accept-later") {
      await sleep(rest[0]);
      return this.accept(rest.slice(1));
    }
    if (first === "refuse") return new Response(null, { status: 403 });
    if (first === "run") return new Response(await this.run(await request.text(), {}));
    return new Response(null, { status: 404 });
  }

  async echo(request, uri) {
    const headers = { "content-type": "application/octet-stream", "x-method": request.method, "x-uri": uri };
    const conformance = request.headers.get("x-case");
    if (conformance !== null) headers["x-case"] = conformance;
    return new Response(await request.arrayBuffer(), { headers });
  }

  accept([protocol, ...tags]) {
    const [client, server] = Object.values(new WebSocketPair());
    try {
      this.ctx.acceptWebSocket(server, tags.map(decodeURIComponent));
    } catch (error) {
      return new Response(refusal(error), { status: 409 });
    }
    const headers = protocol === "-" ? {} : { "sec-websocket-protocol": protocol };
    return new Response(null, { status: 101, headers, webSocket: client });
  }

  async alarm({ scheduledTime, retryCount }) {
    this.note(`alarm ${scheduledTime} ${retryCount}`);
    const script = this.ctx.storage.kv.get("on-alarm");
    if (script) await this.run(read(script), { retryCount });
  }

  async webSocketMessage(socket, received) {
    socket.send(typeof received === "string" ? await this.run(received, { socket }) : received);
  }

  webSocketClose(_socket, code, reason, wasClean) {
    this.note(`close ${code} ${encode(reason)} ${wasClean}`);
  }

  webSocketError() {
    this.note("error");
  }

  note(event) {
    const { kv } = this.ctx.storage;
    kv.put("events", bytes(`${read(kv.get("events"))}${event}\n`));
  }

  /** The answers to a script. `turn` is the state of the turn that it needs: the socket, or the alarm's retry count. */
  async run(script, turn) {
    const lines = script.split("\n").filter((line) => line !== "");
    const answers = await this.block(lines, turn);
    return answers.map((answer) => `${answer}\n`).join("");
  }

  /** Runs lines up to the end, or to the `end` of a transaction, and takes them off the list. */
  async block(lines, turn) {
    const answers = [];
    while (lines.length > 0) {
      let [command, ...words] = lines.shift().split(" ");
      if (command === "end") break;
      const isCaught = command !== "uncaught";
      if (!isCaught) [command, ...words] = words;
      if (command === "transaction") {
        answers.push(...(await this.transaction(words[0], lines, turn)));
        continue;
      }
      if (!Object.hasOwn(COMMANDS, command)) throw new ClassError("bad-script", `there is no command ${command}`);
      try {
        answers.push((await COMMANDS[command].call(this, words, turn)) ?? "ok");
      } catch (error) {
        if (!isCaught) throw error;
        answers.push(refusal(error));
      }
    }
    return answers;
  }

  async transaction(how, lines, turn) {
    const undo = new Error("to be undone");
    let answers;
    try {
      await this.ctx.storage.transaction(async () => {
        answers = await this.block(lines, turn);
        if (how === "undo") throw undo;
      });
    } catch (error) {
      if (error !== undo) throw error;
      return [...answers, "undone"];
    }
    return [...answers, "kept"];
  }

  socket(word, turn) {
    const socket = word === "@" ? turn.socket : this.ctx.getWebSockets(text(word))[0];
    if (!socket) throw new ClassError("unknown-socket", "there is none", { detail: null });
    return socket;
  }
}

/** The answer for a refusal of the host; other errors are thrown again. */
function refusal(error) {
  if (!(error instanceof ClassError) || error.detail === undefined) throw error;
  if (error.code !== "constraint" && error.code !== "sqlite") return `error ${error.code}`;
  return `error ${error.code} ${error.detail.code} ${encode(error.detail.message)}`;
}

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, Number(ms)));
const bytes = (string) => new TextEncoder().encode(string);
const read = (stored) => (stored === undefined ? "" : new TextDecoder().decode(stored));
const pairs = (map) => [...map].map(([key, stored]) => `${encode(key)} ${encode(stored)}`).join(" ");
const some = (stored) => (stored === undefined || stored === null ? "none" : `some ${encode(stored)}`);

function failDeeply(reason) {
  throwDeeper(reason);
}

function throwDeeper(reason) {
  throw new Error(reason);
}

/** Each answers a line, or nothing for `ok`. */
const COMMANDS = {
  id() {
    return encode(this.ctx.id.toString());
  },
  name() {
    return this.ctx.id.name === undefined ? "none" : `some ${encode(this.ctx.id.name)}`;
  },
  class() {
    return encode(this.ctx.className);
  },
  count() {
    return ++this.count;
  },
  get([key]) {
    return some(this.ctx.storage.kv.get(text(key)));
  },
  put([key, stored]) {
    this.ctx.storage.kv.put(text(key), decode(stored));
  },
  delete([key]) {
    return this.ctx.storage.kv.delete(text(key));
  },
  async "get-many"(keys) {
    return pairs(await this.ctx.storage.get(keys.map(text)));
  },
  async "put-many"(words) {
    const entries = {};
    for (let i = 0; i < words.length; i += 2) entries[text(words[i])] = decode(words[i + 1]);
    await this.ctx.storage.put(entries);
  },
  "delete-many"(keys) {
    return this.ctx.storage.delete(keys.map(text));
  },
  list(words) {
    const names = { start: "start", "start-after": "startAfter", end: "end", prefix: "prefix", limit: "limit" };
    const options = {};
    for (const word of words) {
      const [name, given] = word.split("=");
      if (name === "reverse") options.reverse = true;
      else options[names[name]] = name === "limit" ? Number(given) : text(given);
    }
    return pairs(this.ctx.storage.kv.list(options));
  },
  sql([query, ...parameters]) {
    const cursor = this.ctx.storage.sql.exec(text(query), ...parameters.map(value));
    const rows = [...cursor.raw()].flat();
    return [cursor.columnNames.length, ...cursor.columnNames.map(encode), ...rows.map(writeValue)].join(" ");
  },
  "sql-changes"([query, ...parameters]) {
    const { sql } = this.ctx.storage;
    const { rowsWritten } = sql.exec(text(query), ...parameters.map(value));
    return `${rowsWritten} ${sql.exec("SELECT last_insert_rowid() AS rowid").one().rowid}`;
  },
  "sql-sum"([query, ...parameters]) {
    let [rows, sum] = [0, 0];
    for (const [first] of this.ctx.storage.sql.exec(text(query), ...parameters.map(value)).raw()) {
      rows += 1;
      sum += first;
    }
    return `${rows} ${sum}`;
  },
  size() {
    return this.ctx.storage.sql.databaseSize;
  },
  "delete-all"() {
    return this.ctx.storage.deleteAll();
  },
  sync() {
    return this.ctx.storage.sync();
  },
  async "alarm-get"() {
    const time = await this.ctx.storage.getAlarm();
    return time === null ? "none" : `some ${time}`;
  },
  "alarm-set"([time]) {
    return this.ctx.storage.setAlarm(Number(time));
  },
  "alarm-delete"() {
    return this.ctx.storage.deleteAlarm();
  },
  sockets([tag]) {
    return this.ctx.getWebSockets(tag && text(tag)).length;
  },
  tags([socket], turn) {
    return this.ctx.getTags(this.socket(socket, turn)).map(encode).join(" ");
  },
  attach([socket, attachment], turn) {
    this.socket(socket, turn).serializeAttachment(decode(attachment));
  },
  attachment([socket], turn) {
    return some(this.socket(socket, turn).deserializeAttachment());
  },
  send([socket, sent], turn) {
    this.socket(socket, turn).send(readMessage(sent));
  },
  broadcast([sent, tag]) {
    return this.ctx.broadcast(readMessage(sent), tag && text(tag));
  },
  close([socket, code, reason], turn) {
    this.socket(socket, turn).close(Number(code), text(reason));
  },
  "auto-response"([request, response]) {
    const pair = request === undefined ? undefined : new WebSocketRequestResponsePair(text(request), text(response));
    this.ctx.setWebSocketAutoResponse(pair);
  },
  fail([code, reason, retryable]) {
    throw new ClassError(text(code), text(reason), { retryable: retryable === "true" });
  },
  "fail-before"([attempts], { retryCount }) {
    if (retryCount < Number(attempts)) throw new ClassError("too-early", "not yet");
  },
  throw([reason]) {
    failDeeply(text(reason));
  },
  async wait([ms]) {
    await sleep(ms);
  },
  async "wait-for"([topic]) {
    const told = await new Promise((resolve) => {
      this.topics.set(topic, [...(this.topics.get(topic) ?? []), resolve]);
    });
    return encode(told);
  },
  tell([topic, told]) {
    const waiting = this.topics.get(topic) ?? [];
    this.topics.delete(topic);
    for (const resolve of waiting) resolve(text(told));
    return waiting.length;
  },
  async "wait-exclusive"([ms]) {
    await this.ctx.blockConcurrencyWhile(() => sleep(ms));
  },
  later([ms, name, command, ...words]) {
    clearTimeout(this.timers.get(name));
    const run = () => {
      this.timers.delete(name);
      return COMMANDS[command].call(this, words, {});
    };
    this.timers.set(name, setTimeout(run, Number(ms)));
  },
  cancel([name]) {
    clearTimeout(this.timers.get(name));
    return this.timers.delete(name);
  },
  log([level, entry, ...words]) {
    const fields = {};
    for (let i = 0; i < words.length; i += 2) fields[text(words[i])] = text(words[i + 1]);
    console[level]("%s", text(entry), fields);
  },
  print([line]) {
    console.log("%s", text(line));
  },
  "print-error"([line]) {
    console.error("%s", text(line));
  },
  now() {
    return Date.now();
  },
  random() {
    return `${Math.random()} ${Math.random()}`;
  },
};

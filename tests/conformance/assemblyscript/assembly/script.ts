// Scripts and their commands.
import {
  Entry, Failure, Field, Level, ListOptions, Listing, Refusal, Socket, Value,
  alarms, encode, kv, log, object, refusals, sockets, sql, storage,
} from "holdfast";

import { Waits, lateCommand } from "./late";
import { Words, encoded, encodedText, option, shown } from "./words";

let count = 0;

/** The event of a turn, as far as scripts need it. */
export class About {
  constructor(readonly socket: Socket | null = null, readonly isAlarm: bool = false, readonly retryCount: u32 = 0) {}
}

/** A script that has begun. */
export class Script {
  private lines: string[];
  private at: i32 = 0;
  answered: string[] = [];
  waits: Waits = new Waits();

  constructor(text: string, readonly about: About) {
    this.lines = text.split("\n");
  }

  get answers(): string {
    return this.answered.length ? this.answered.join("\n") + "\n" : "";
  }

  /** Up to its end, or that of the transaction, or until it waits. */
  run(inTransaction: bool = false): Failure | null {
    while (this.at < this.lines.length && !this.waits.isWaiting) {
      const line = this.lines[this.at++];
      if (inTransaction && line == "end") return null;
      if (line == "transaction keep" || line == "transaction undo") {
        const failure = this.transaction(line.endsWith("keep"));
        if (failure) return failure;
      } else if (line.length && !lateCommand(this, line)) {
        const failure = this.command(line);
        if (failure) return failure;
      }
    }
    return inTransaction ? new Failure("bad-script", "a transaction has no end") : null;
  }

  private transaction(keep: bool): Failure | null {
    const savepoint = storage.savepoint();
    const failure = this.run(true);
    if (failure) return failure;
    if (keep) savepoint.keep();
    else savepoint.undo();
    this.answered.push(keep ? "kept" : "undone");
    return null;
  }

  command(line: string): Failure | null {
    const words = new Words(line.split(" "));
    let name = words.next();
    const isCaught = name != "uncaught";
    if (!isCaught) name = words.next();
    if (name == "fail") return new Failure(words.text(), words.text(), words.text() == "true");
    if (name == "fail-before" && this.about.isAlarm && this.about.retryCount < <u32>words.integer()) return new Failure("too-early", "not yet");
    if (isCaught) refusals.hold();
    const answer = done(name, words, this.about);
    const refusal = refusals.take();
    if (answer === null) return new Failure("bad-script", line);
    this.answered.push(refusal ? refused(refusal) : answer);
    return null;
  }
}

export function refused(refusal: Refusal): string {
  const details = refusal.name == "constraint" || refusal.name == "sqlite";
  return details ? `error ${refusal.name} ${refusal.code} ${encodedText(refusal.message)}` : `error ${refusal.name}`;
}

/** The answer of a command; null if it is none. */
function done(name: string, words: Words, about: About): string | null {
  if (name == "id") return encodedText(object.id());
  if (name == "class") return encodedText(object.className());
  if (name == "name") {
    const known = object.name();
    return option(known === null ? null : encode(known));
  }
  if (name == "count") return (++count).toString();
  if (name == "now") return Date.now().toString();
  if (name == "random") return `${Math.random()} ${Math.random()}`;
  if (name == "size") return storage.size().toString();
  if (name == "alarm-get") {
    const time = alarms.get();
    return time ? `some ${time}` : "none";
  }
  const kept = keyCommand(name, words);
  if (kept !== null) return kept;
  if (name.startsWith("sql")) return sqlCommand(name, words);
  const sent = socketCommand(name, words, about);
  if (sent !== null) return sent;
  return plainCommand(name, words) ? "ok" : null;
}

/** Those that are answered `ok`. */
function plainCommand(name: string, words: Words): bool {
  if (name == "delete-all") storage.deleteAll();
  else if (name == "sync") storage.sync();
  else if (name == "alarm-set") alarms.set(words.integer());
  else if (name == "alarm-delete") alarms.remove();
  else if (name == "throw") fall(words.text());
  else if (name == "log") logCommand(words);
  else if (name == "print") process.stdout.write(words.text() + "\n");
  else if (name == "print-error") process.stderr.write(words.text() + "\n");
  else return name == "fail-before";
  return true;
}

function fall(message: string): void {
  fallDeeper(message);
}

function fallDeeper(message: string): void {
  throw new Error(message);
}

const LEVELS: StaticArray<string> = ["trace", "debug", "info", "warn", "error"];

function logCommand(words: Words): void {
  const level = <Level>LEVELS.indexOf(words.text()), message = words.text();
  const fields: Field[] = [];
  while (words.more) fields.push(new Field(words.text(), words.text()));
  log(level, message, fields);
}

function keyCommand(name: string, words: Words): string | null {
  if (name == "get") return option(kv.get(words.text()));
  if (name == "put") {
    kv.put(words.text(), words.bytes());
    return "ok";
  }
  if (name == "delete") return kv.remove(words.text()).toString();
  if (name == "get-many") return pairs(kv.getMany(words.texts()));
  if (name == "delete-many") return kv.removeMany(words.texts()).toString();
  if (name == "put-many") {
    const entries: Entry[] = [];
    while (words.more) entries.push(new Entry(words.text(), words.bytes()));
    kv.putMany(entries);
    return "ok";
  }
  return name == "list" ? listed(kv.list(options(words))) : null;
}

function pairs(entries: Entry[]): string {
  const words: string[] = [];
  for (let i = 0; i < entries.length; i++) {
    words.push(encodedText(entries[i].key));
    words.push(encoded(entries[i].value));
  }
  return words.join(" ");
}

function listed(listing: Listing): string {
  const entries: Entry[] = [];
  for (let entry = listing.next(); entry; entry = listing.next()) entries.push(entry);
  return pairs(entries);
}

function options(words: Words): ListOptions {
  const options = new ListOptions();
  while (words.more) {
    const word = new Words(words.next().split("=")), name = word.next();
    if (name == "start") options.start = word.text();
    else if (name == "start-after") options.startAfter = word.text();
    else if (name == "end") options.end = word.text();
    else if (name == "prefix") options.prefix = word.text();
    else if (name == "reverse") options.reverse = true;
    else if (name == "limit") options.limit = <u32>word.integer();
  }
  return options;
}

function sqlCommand(name: string, words: Words): string | null {
  const text = words.text();
  const parameters: Value[] = [];
  while (words.more) parameters.push(words.value());
  const rows = sql.exec(text, parameters);
  if (name == "sql-changes") return `${rows.changes} ${rows.lastInsertRowid}`;
  if (name == "sql-sum") {
    let read = 0;
    let sum: i64 = 0;
    for (let row = rows.next(); row; row = rows.next()) {
      read++;
      sum += row[0].integer;
    }
    return `${read} ${sum}`;
  }
  const answer: string[] = [rows.columns.length.toString()];
  for (let i = 0; i < rows.columns.length; i++) answer.push(encodedText(rows.columns[i]));
  for (let row = rows.next(); row; row = rows.next()) {
    for (let i = 0; i < row.length; i++) answer.push(shown(row[i]));
  }
  return name == "sql" ? answer.join(" ") : null;
}

function socketCommand(name: string, words: Words, about: About): string | null {
  if (name == "sockets") return sockets.open(words.more ? words.text() : null).length.toString();
  if (name == "broadcast") {
    const message = words.message();
    return sockets.broadcast(message, words.more ? words.text() : null).toString();
  }
  if (name == "auto-response") {
    if (words.more) sockets.setAutoResponse(words.text(), words.text());
    else sockets.removeAutoResponse();
    return "ok";
  }
  if (name != "tags" && name != "attachment" && name != "attach" && name != "send" && name != "close") return null;
  const socket = chosen(words.text(), about);
  if (!socket) return "error unknown-socket";
  if (name == "tags") return socket.tags().map<string>((tag) => encodedText(tag)).join(" ");
  if (name == "attachment") return option(socket.attachment());
  if (name == "attach") socket.attach(words.bytes());
  else if (name == "send") socket.send(words.message());
  else socket.close(<u16>words.integer(), words.text());
  return "ok";
}

/** The socket that the turn is about, or the oldest one with a tag. */
function chosen(which: string, about: About): Socket | null {
  if (which == "@") return about.socket;
  const open = sockets.open(which);
  return open.length ? open[0] : null;
}

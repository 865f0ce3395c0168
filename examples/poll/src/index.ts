// A poll: one object per question. Votes are counted in SQL, each is sent to all open pages, and an alarm closes the poll.

import { DurableObject } from "holdfast";

interface Poll {
  question: string;
  /** The end of the poll, in milliseconds since the Unix epoch; null for a poll that stays open. */
  closes: number | null;
  open: boolean;
}

interface Option extends Record<string, SqlStorageValue> {
  name: string;
  votes: number;
}

/** A mistake of the caller: an answer like any other, not a failed turn. */
class Refusal extends Error {
  constructor(
    readonly status: number,
    message: string,
  ) {
    super(message);
  }
}

export class PollObject extends DurableObject {
  constructor(ctx: DurableObjectState, env: Record<string, string>) {
    super(ctx, env);
    ctx.storage.sql.exec(`
      CREATE TABLE IF NOT EXISTS option (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
      CREATE TABLE IF NOT EXISTS vote (voter TEXT PRIMARY KEY, option INTEGER NOT NULL REFERENCES option) WITHOUT ROWID`);
  }

  override async fetch(request: Request): Promise<Response> {
    try {
      const { pathname } = new URL(request.url);
      const voter = /^\/votes\/([^/]{1,64})$/.exec(pathname)?.[1];
      if (voter && request.method === "PUT")
        return Response.json(this.vote(decodeURIComponent(voter), await request.json()));
      if (pathname !== "/") throw new Refusal(404, "there is nothing here");
      if (request.headers.get("upgrade") === "websocket") return this.watch();
      if (request.method === "POST") return Response.json(await this.ask(await request.json()), { status: 201 });
      return Response.json(this.results());
    } catch (error) {
      if (error instanceof SyntaxError) return problem(400, "the body is no JSON");
      if (error instanceof Refusal) return problem(error.status, error.message);
      throw error;
    }
  }

  /** The time is over: sends the last results and a close frame. */
  override alarm(): void {
    const { question, closes } = this.poll();
    this.ctx.storage.kv.put<Poll>("poll", { question, closes, open: false });
    this.tell();
    for (const socket of this.ctx.getWebSockets()) socket.close(1000, "the poll is closed");
    console.info("closed", { question });
  }

  private async ask({ question, options, seconds }: { question?: unknown; options?: unknown; seconds?: unknown }) {
    if (this.ctx.storage.kv.get("poll")) throw new Refusal(409, "there is a poll here already");
    if (typeof question !== "string" || !Array.isArray(options) || new Set(options).size < 2) {
      throw new Refusal(400, 'a poll is {"question": TEXT, "options": [TEXT, TEXT, …], "seconds": NUMBER}');
    }
    const closes = typeof seconds === "number" ? Date.now() + seconds * 1000 : null;
    if (closes !== null) await this.ctx.storage.setAlarm(closes);
    this.ctx.storage.kv.put<Poll>("poll", { question, closes, open: true });
    for (const name of new Set(options))
      this.ctx.storage.sql.exec("INSERT INTO option (name) VALUES (?)", String(name));
    return this.results();
  }

  /** One vote a voter; a later one replaces it. */
  private vote(voter: string, { option }: { option?: unknown }) {
    if (!this.poll().open) throw new Refusal(409, "the poll is closed");
    const [found] = this.ctx.storage.sql.exec<{ id: number }>("SELECT id FROM option WHERE name = ?", String(option));
    if (!found) throw new Refusal(400, `there is no option ${JSON.stringify(option)}`);
    this.ctx.storage.sql.exec("INSERT OR REPLACE INTO vote (voter, option) VALUES (?, ?)", voter, found.id);
    return this.tell();
  }

  private watch(): Response {
    if (!this.poll().open) throw new Refusal(409, "the poll is closed");
    const { 0: client, 1: server } = new WebSocketPair();
    this.ctx.acceptWebSocket(server);
    server.send(JSON.stringify(this.results()));
    return new Response(null, { status: 101, webSocket: client });
  }

  /** Sends the results to all open pages. They are sent when the vote is durable. */
  private tell() {
    const results = this.results();
    this.ctx.broadcast(JSON.stringify(results));
    return results;
  }

  private results() {
    const { question, open } = this.poll();
    const options = this.ctx.storage.sql
      .exec<Option>(
        "SELECT name, count(voter) AS votes FROM option LEFT JOIN vote ON option = id GROUP BY id ORDER BY id",
      )
      .toArray();
    return { question, open, options };
  }

  private poll(): Poll {
    const poll = this.ctx.storage.kv.get<Poll>("poll");
    if (!poll) throw new Refusal(404, "nobody has asked anything yet");
    return poll;
  }
}

function problem(status: number, detail: string): Response {
  return Response.json({ status, detail }, { status, headers: { "content-type": "application/problem+json" } });
}

/**
 * Edge cases of WebSockets with the library `ws`. `../python/cases.py` is the same script for `websockets`.
 *
 * Usage: cases.mjs URL, where URL is the data listener of a host that has `tests/guests/sockets` deployed as `sockets`.
 * Prints a line for each case; ends with 1 if one failed. Each case has an object of its own, which reports the events
 * that it got.
 */
import assert from "node:assert/strict";
import { once } from "node:events";
import { createRequire } from "node:module";
import { setTimeout as pause } from "node:timers/promises";

// Not `import`, which would not look where NODE_PATH says.
const { WebSocket } = createRequire(import.meta.url)("ws");

const HTTP = process.argv[2].replace(/\/$/, "");
/** Longer than any step takes on a busy machine: after this a case fails instead of hanging. */
const PATIENCE = 300_000;
const LARGEST = 32 << 20;

/** A socket of an object. */
class Peer {
  #heard = [];
  #waiting = [];

  static async open(room, query = "", protocols = []) {
    const peer = new Peer();
    peer.ws = new WebSocket(`${HTTP.replace("http", "ws")}/sockets/${room}?${query}`, protocols, { maxPayload: 0 });
    peer.ws.on("message", (data, isBinary) => peer.#came({ message: isBinary ? data : data.toString() }));
    peer.ws.on("close", (code, reason) => peer.#came({ code: code === 1005 ? null : code, reason: reason.toString() }));
    // Events, or their absence, show what went wrong.
    peer.ws.on("error", () => {});
    await soon(once(peer.ws, "open"), "the handshake");
    return peer;
  }

  #came(what) {
    const next = this.#waiting.shift();
    if (next) next(what);
    else this.#heard.push(what);
  }

  #next() {
    return soon(this.#heard.shift() ?? new Promise((resolve) => this.#waiting.push(resolve)), "something to hear");
  }

  send(message, options = {}) {
    this.ws.send(message, options);
  }

  async hear() {
    const { message, ...close } = await this.#next();
    assert.notEqual(message, undefined, `a message was to come and not the close ${JSON.stringify(close)}`);
    return message;
  }

  /** Returns the code and reason of the host's close frame; null and "" without. Anything before it is an error. */
  async closed() {
    const { code, reason, message } = await this.#next();
    assert.equal(message, undefined);
    return [code, reason];
  }

  /** Has the object run this op in a turn of this socket, and returns the result. */
  async order(...ops) {
    this.send(`!${JSON.stringify(ops)}`);
    const answer = await this.hear();
    assert.equal(answer[0], "=");
    return JSON.parse(answer.slice(1));
  }

  async ping(payload) {
    const pong = soon(once(this.ws, "pong"), "a pong");
    this.ws.ping(payload);
    assert.equal((await pong)[0].toString(), payload);
  }

  vanish() {
    this.ws.terminate();
  }
}

async function soon(promise, what) {
  const late = new AbortController();
  const limit = pause(PATIENCE, undefined, late).then(() => assert.fail(`waited ${PATIENCE} ms for ${what}`));
  limit.catch(() => {});
  try {
    return await Promise.race([promise, limit]);
  } finally {
    late.abort();
  }
}

async function get(room, path = "") {
  return (await fetch(`${HTTP}/sockets/${room}${path}`)).json();
}

/** The same in a turn without a socket. */
async function run(room, ...ops) {
  return (await fetch(`${HTTP}/sockets/${room}/do`, { method: "POST", body: JSON.stringify(ops) })).json();
}

async function events(room, name) {
  return (await get(room, "/events")).filter(({ event }) => event === name);
}

/** Waits until the object got a close event, once: code, reason, whether it was clean. */
async function closeOf(room) {
  for (const end = Date.now() + PATIENCE; Date.now() < end; await pause(20)) {
    const closes = await events(room, "close");
    if (closes.length > 0) {
      assert.equal(closes.length, 1);
      return [closes[0].code, closes[0].reason, closes[0].was_clean];
    }
  }
  return assert.fail("the object received no close event");
}

/** `assert.deepEqual` would print 32 MiB. */
function sameBytes(seen, wanted) {
  assert.ok(Buffer.isBuffer(seen) && seen.equals(wanted), "other bytes");
}

const CLOSE_FRAMES = [[1000, ""], [1001, "away"], [3000, "ü"], [4999, "r".repeat(123)]];

/** Each gets the name of an object that no other case uses. */
const cases = {
  async messages_of_all_sizes_come_back(room) {
    const peer = await Peer.open(room);
    assert.equal(peer.ws.extensions, ""); // it offers to compress, which the host does not take up
    for (const size of [0, 1, 125, 126, 65_535, 65_536, 1 << 20]) {
      peer.send("x".repeat(size));
      assert.ok((await peer.hear()) === "x".repeat(size), `another text of ${size}`);
      const bytes = Buffer.from({ length: size }, (_, n) => n % 256);
      peer.send(bytes);
      sameBytes(await peer.hear(), bytes);
    }
    peer.send("\0 häj 𝄞");
    assert.equal(await peer.hear(), "\0 häj 𝄞");
    peer.ws.close();
  },

  async fragments_with_pings_between_are_one_message(room) {
    const peer = await Peer.open(room);
    peer.send("one ", { fin: false });
    await peer.ping("between");
    peer.send(Buffer.from([0xe2]), { fin: false }); // a character may end in another fragment
    await peer.ping("");
    for (const part of [[0x82], [], [0xac]]) peer.send(Buffer.from(part), { fin: false });
    peer.send("", { fin: true });
    assert.equal(await peer.hear(), "one €");
    const bytes = Buffer.from({ length: 2_000 }, (_, n) => n % 256);
    for (let n = 0; n < bytes.length; n++) peer.send(bytes.subarray(n, n + 1), { fin: n === bytes.length - 1 });
    sameBytes(await peer.hear(), bytes);
    assert.equal((await events(room, "message")).length, 2);
    peer.ws.close();
  },

  async thirty_two_mebibytes_go_both_ways(room) {
    const peer = await Peer.open(room);
    const bytes = Buffer.alloc(LARGEST, Buffer.from({ length: 251 }, (_, n) => n));
    peer.send(bytes);
    sameBytes(await peer.hear(), bytes);
    const text = `${"€".repeat(Math.floor(LARGEST / 3))}xx`;
    peer.send(text.slice(0, text.length / 7), { fin: false });
    peer.send(text.slice(text.length / 7), { fin: true });
    assert.ok((await peer.hear()) === text, "another text");
    assert.equal((await peer.order("report"))[0].count, 1);
    peer.ws.close();
  },

  async one_byte_more_is_1009(room) {
    const peer = await Peer.open(room);
    peer.send(Buffer.from("still here"));
    sameBytes(await peer.hear(), Buffer.from("still here"));
    peer.send(Buffer.alloc(LARGEST + 1));
    assert.equal((await peer.closed())[0], 1009);
    const [code, , wasClean] = await closeOf(room);
    assert.deepEqual([code, wasClean], [1009, false]);
  },

  async one_byte_more_in_fragments_is_1009(room) {
    const peer = await Peer.open(room);
    for (let n = 0; n <= 32; n++) peer.send(Buffer.alloc(1 << 20), { fin: n === 32 });
    assert.equal((await peer.closed())[0], 1009);
    const [code, , wasClean] = await closeOf(room);
    assert.deepEqual([code, wasClean], [1009, false]);
  },

  async bad_utf8_is_1007(room) {
    const peer = await Peer.open(room);
    peer.send(Buffer.from("well \xff\xfe", "latin1"), { binary: false });
    assert.equal((await peer.closed())[0], 1007);
    const [code, , wasClean] = await closeOf(room);
    assert.deepEqual([code, wasClean], [1007, false]);
  },

  async bad_utf8_over_fragments_is_1007(room) {
    const peer = await Peer.open(room);
    peer.send(Buffer.from([0xed]), { binary: false, fin: false });
    peer.send(Buffer.from([0xa0, 0x80]), { fin: true }); // a lone surrogate
    assert.equal((await peer.closed())[0], 1007);
    const [code, , wasClean] = await closeOf(room);
    assert.deepEqual([code, wasClean], [1007, false]);
  },

  async bad_utf8_is_no_matter_in_bytes(room) {
    const peer = await Peer.open(room);
    peer.send(Buffer.from([0xff, 0xfe]));
    sameBytes(await peer.hear(), Buffer.from([0xff, 0xfe]));
    peer.ws.close();
  },

  async who_vanishes_has_closed_with_1006(room) {
    const peer = await Peer.open(room);
    peer.send("hello");
    assert.equal(await peer.hear(), "hello");
    peer.vanish();
    assert.deepEqual(await closeOf(room), [1006, "", false]);
  },

  async who_vanishes_in_a_message_has_closed_with_1006(room) {
    const peer = await Peer.open(room);
    peer.send("never", { fin: false });
    await peer.ping(""); // it is there by now
    peer.vanish();
    assert.deepEqual(await closeOf(room), [1006, "", false]);
    assert.deepEqual((await get(room, "/events")).map(({ event }) => event), ["close"]);
  },

  async close_frames_of_the_client(room) {
    for (const [n, [code, reason]] of CLOSE_FRAMES.entries()) {
      const peer = await Peer.open(`${room}-${n}`);
      peer.ws.close(code, reason);
      assert.deepEqual(await peer.closed(), [code, reason]);
      assert.deepEqual(await closeOf(`${room}-${n}`), [code, reason, true]);
    }
    const peer = await Peer.open(`${room}-none`);
    peer.ws.close();
    assert.deepEqual(await peer.closed(), [null, ""]);
    assert.deepEqual(await closeOf(`${room}-none`), [1005, "", true]);
  },

  async close_frames_of_the_object(room) {
    for (const [n, [code, reason]] of CLOSE_FRAMES.entries()) {
      const peer = await Peer.open(`${room}-${n}`);
      peer.send(`!${JSON.stringify([{ send: { text: "last words" } }, { close: { code, reason } }])}`);
      assert.equal(await peer.hear(), "last words");
      assert.deepEqual(await peer.closed(), [code, reason]);
      assert.deepEqual(await closeOf(`${room}-${n}`), [code, reason, true]);
    }
    const peer = await Peer.open(`${room}-none`);
    peer.send('![{"close": {}}]');
    assert.deepEqual(await peer.closed(), [null, ""]);
    assert.deepEqual(await closeOf(`${room}-none`), [1005, "", true]);
  },

  async a_turn_that_fails_is_1011(room) {
    const peer = await Peer.open(room);
    peer.send('![{"send": {"text": "never"}}, "fail"]');
    assert.equal((await peer.closed())[0], 1011);
    assert.equal((await closeOf(room))[0], 1011);
  },

  async a_thousand_messages_in_order(room) {
    const peer = await Peer.open(room);
    const messages = Array.from({ length: 1_000 }, (_, n) => (n % 3 ? `message ${n}` : Buffer.from(`message ${n}`)));
    for (const message of messages) peer.send(message);
    for (const message of messages) assert.deepEqual(await peer.hear(), message);
    const told = (await events(room, "message")).map(({ text, bytes }) => text ?? bytes);
    assert.deepEqual(told, messages.map((message) => (Buffer.isBuffer(message) ? message.length : message)));
    peer.ws.close();
  },

  async a_thousand_messages_of_one_turn_in_order(room) {
    const peer = await Peer.open(room);
    const numbers = Array.from({ length: 1_000 }, (_, n) => `${n}`);
    assert.deepEqual(await run(room, ...numbers.map((text) => ({ broadcast: { text } }))), numbers.map(() => 1));
    for (const number of numbers) assert.equal(await peer.hear(), number);
    peer.ws.close();
  },

  async sub_protocols(room) {
    const offers = ["chat.v2", "chat.v1"];
    for (const [query, offered, chosen] of [
      ["protocol=first", offers, "chat.v2"],
      ["protocol=chat.v1", offers, "chat.v1"],
      ["protocol=first", [], ""],
    ]) {
      const peer = await Peer.open(room, query, offered);
      assert.equal(peer.ws.protocol, chosen);
      peer.ws.close();
    }
    // This library insists that one of its offers is taken.
    await assert.rejects(Peer.open(room, "", offers), /Server sent no subprotocol/);
  },

  async the_host_answers_for_the_object(room) {
    const peer = await Peer.open(room);
    assert.deepEqual(await peer.order({ auto_response: ["ping", "pong"] }), [null]);
    const { turns } = await get(room);
    for (let n = 0; n < 10; n++) {
      peer.send("ping");
      assert.equal(await peer.hear(), "pong");
    }
    await peer.ping("x".repeat(125));
    const report = await get(room);
    assert.equal(report.turns, turns + 1);
    assert.ok(report.sockets[0].auto_response_time > 0);
    peer.send(Buffer.from("ping"));
    sameBytes(await peer.hear(), Buffer.from("ping"));
    peer.ws.close();
  },

  async a_refused_upgrade_is_an_answer(room) {
    const ws = new WebSocket(`${HTTP.replace("http", "ws")}/sockets/${room}?accept=0&status=403`);
    const [, response] = await soon(once(ws, "unexpected-response"), "the refusal");
    assert.equal(response.statusCode, 403);
    assert.equal(Buffer.concat(await response.toArray()).toString(), "refused");
    assert.equal((await get(room)).count, 0);
  },

  async broadcasts(room) {
    const [one, two, three] = [await Peer.open(room, "tag=a&tag=b"), await Peer.open(room, "tag=b"), await Peer.open(room)];
    assert.deepEqual(await run(room, { broadcast: { text: "to b", tag: "b" } }, { broadcast: { text: "to all" } }), [2, 3]);
    for (const peer of [one, two]) assert.deepEqual([await peer.hear(), await peer.hear()], ["to b", "to all"]);
    assert.equal(await three.hear(), "to all");
    two.vanish();
    await closeOf(room);
    assert.deepEqual(await run(room, { broadcast: { text: "those left" } }), [2]);
    for (const peer of [one, three]) {
      assert.equal(await peer.hear(), "those left");
      peer.ws.close();
    }
  },
};

let failed = 0;
for (const [name, run] of Object.entries(cases)) {
  const began = Date.now();
  let outcome = "ok";
  try {
    await run(name.replaceAll("_", "-"));
  } catch (error) {
    failed += 1;
    outcome = `FAILED\n${error.stack}`;
  }
  console.log(`${name} (${((Date.now() - began) / 1000).toFixed(1)} s): ${outcome}`);
}
console.log(`${Object.keys(cases).length - failed} passed, ${failed} failed`);
// Sockets that a failed case left open are not waited for.
process.exit(failed > 0 ? 1 : 0);

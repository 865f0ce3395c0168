/** `node --test guest-sdk/browser`: the client against an object that is played by hand, with a clock that is turned by hand. */

import assert from "node:assert/strict";
import { beforeEach, mock, test } from "node:test";

import { HoldfastSocket, claimStore } from "./holdfast-socket.js";

/** The other end: what was sent to it, and ways to answer. */
class Wire {
  /** @type {Wire[]} */
  static all = [];
  sent = [];
  closed = false;

  constructor(url) {
    this.url = new URL(url);
    Wire.all.push(this);
  }

  static get last() {
    return Wire.all.at(-1);
  }

  send(data) {
    this.sent.push(data === "ping" ? data : JSON.parse(data));
  }

  close() {
    this.closed = true;
  }

  says(frame) {
    this.onmessage({ data: typeof frame === "string" ? frame : JSON.stringify(frame) });
  }

  welcomes(welcome = {}) {
    this.says({ welcome: { ack: 0, seq: 0, ...welcome } });
  }

  breaks(code = 1006, reason = "") {
    this.onclose({ code, reason });
  }
}

/** A socket, and all events that it reported. */
function open(options = {}) {
  const told = [];
  const window = new EventTarget();
  const socket = new HoldfastSocket("http://example/room/a?gone=1", {
    WebSocket: Wire,
    random: () => 1,
    window,
    parameters: { name: "ann" },
    ...options,
  });
  for (const type of ["state", "welcome", "event", "acknowledged", "refused"]) {
    socket.addEventListener(type, ({ detail }) => told.push([type, detail]));
  }
  const tellsOf = (type) => told.filter(([of]) => of === type).map(([, detail]) => detail);
  return { socket, window, tellsOf };
}

const ids = (wire) => wire.sent.map(({ id }) => id);

beforeEach(() => {
  Wire.all = [];
  mock.timers.reset();
  mock.timers.enable({ apis: ["setTimeout"] });
});

test("it says who it is and what it has seen", () => {
  open();
  const { url } = Wire.last;
  assert.equal(url.origin, "ws://example");
  assert.match(url.searchParams.get("client"), /^[0-9a-f]{32}$/);
  assert.equal(url.search, `?name=ann&client=${url.searchParams.get("client")}&after=0`);
  Wire.last.welcomes({ seq: 7, events: [{ seq: 6, event: "f" }] });
  Wire.last.says({ seq: 9, event: "i" });
  Wire.last.breaks();
  mock.timers.tick(250);
  assert.equal(Wire.all.length, 2);
  assert.equal(Wire.last.url.searchParams.get("client"), url.searchParams.get("client"));
  assert.equal(Wire.last.url.searchParams.get("after"), "9");
});

test("an event with a number is told of once, one without as often as it comes", () => {
  const { tellsOf } = open();
  Wire.last.welcomes({ seq: 3, events: [{ seq: 2, event: "b" }, { seq: 3, event: "c" }] });
  for (const seq of [3, 4, 4, 6]) Wire.last.says({ seq, event: seq });
  for (const event of ["typing", "typing"]) Wire.last.says({ event });
  const told = tellsOf("event").map(({ event }) => event);
  assert.deepEqual(told, ["b", "c", 4, 6, "typing", "typing"]);
});

test("a reset begins anew, even with smaller numbers", () => {
  const { tellsOf } = open();
  Wire.last.welcomes({ seq: 90 });
  Wire.last.breaks();
  mock.timers.tick(250);
  Wire.last.welcomes({ seq: 2, reset: true, events: [{ seq: 1, event: "a" }, { seq: 2, event: "b" }] });
  assert.deepEqual(tellsOf("event").map(({ seq }) => seq), [1, 2]);
});

test("what is sent is kept until it is acknowledged, and sent again after each welcome", () => {
  const { socket, tellsOf } = open();
  assert.equal(socket.send("early"), 1);
  assert.deepEqual(Wire.last.sent, []);
  Wire.last.welcomes();
  socket.send("late");
  assert.deepEqual(Wire.last.sent, [{ id: 1, event: "early" }, { id: 2, event: "late" }]);
  Wire.last.says({ ack: 1 });
  Wire.last.breaks();
  socket.send("between");
  mock.timers.tick(250);
  Wire.last.welcomes({ ack: 1 });
  assert.deepEqual(ids(Wire.last), [2, 3]);
  // The answer got lost, the message did not.
  Wire.last.breaks();
  mock.timers.tick(250);
  Wire.last.welcomes({ ack: 2 });
  assert.deepEqual(ids(Wire.last), [3]);
  Wire.last.says({ ack: 3 });
  Wire.last.says({ ack: 3 });
  assert.deepEqual(tellsOf("acknowledged").map(({ event }) => event), ["early", "late", "between"]);
  assert.deepEqual(socket.pending, []);
});

test("what may get lost is not kept", () => {
  const { socket } = open();
  socket.sendNow("typing");
  Wire.last.welcomes();
  socket.sendNow("typing");
  assert.deepEqual(Wire.last.sent, [{ event: "typing" }]);
  assert.deepEqual(socket.pending, []);
});

test("a refused message is told of and gone", () => {
  const { socket, tellsOf } = open();
  Wire.last.welcomes();
  socket.send("bad");
  socket.send("good");
  Wire.last.says({ refused: { id: 1, reason: "no" } });
  Wire.last.says({ refused: { id: 1, reason: "no" } });
  assert.deepEqual(tellsOf("refused"), [{ id: 1, event: "bad", reason: "no" }]);
  assert.deepEqual(socket.pending, [{ id: 2, event: "good" }]);
});

test("a busy object is left alone for as long as it asks, and then gets everything in order", () => {
  const { socket } = open();
  Wire.last.welcomes();
  socket.send("a");
  socket.send("b");
  Wire.last.says({ retry: { after: 1000 } });
  socket.send("c");
  assert.deepEqual(ids(Wire.last), [1, 2]);
  mock.timers.tick(999);
  assert.deepEqual(ids(Wire.last), [1, 2]);
  mock.timers.tick(1);
  assert.deepEqual(ids(Wire.last), [1, 2, 1, 2, 3]);
});

test("waits double up to the longest one, and a welcome begins them anew", () => {
  const { tellsOf } = open({ longestWait: 1000 });
  const waits = [];
  for (let n = 0; n < 5; n++) {
    Wire.last.breaks();
    waits.push(tellsOf("state").at(-1).retryIn);
    mock.timers.tick(waits.at(-1));
  }
  assert.deepEqual(waits, [250, 500, 1000, 1000, 1000]);
  Wire.last.welcomes();
  Wire.last.breaks();
  assert.equal(tellsOf("state").at(-1).retryIn, 250);
});

test("half of each wait is chance", () => {
  const { tellsOf } = open({ random: () => 0 });
  Wire.last.breaks();
  assert.equal(tellsOf("state").at(-1).retryIn, 125);
});

test("a silent connection is asked, and given up if it does not answer", () => {
  const { socket, tellsOf } = open({ heartbeat: 100, patience: 10 });
  Wire.last.welcomes();
  mock.timers.tick(100);
  assert.deepEqual(Wire.last.sent, ["ping"]);
  Wire.last.says("pong");
  mock.timers.tick(99);
  assert.deepEqual(Wire.last.sent, ["ping"]);
  mock.timers.tick(1);
  assert.deepEqual(Wire.last.sent, ["ping", "ping"]);
  mock.timers.tick(10);
  assert.equal(socket.state, "waiting");
  assert.equal(Wire.last.closed, true);
  assert.deepEqual(tellsOf("event"), []);
});

test("a handshake that nobody answers is given up", () => {
  const { socket } = open({ patience: 10 });
  mock.timers.tick(10);
  assert.equal(socket.state, "waiting");
  mock.timers.tick(250);
  assert.equal(Wire.all.length, 2);
});

test("a connection that was given up can say nothing more", () => {
  const { tellsOf } = open({ patience: 10 });
  const dead = Wire.last;
  mock.timers.tick(10);
  assert.equal(dead.onmessage, null);
  assert.equal(dead.onclose, null);
  assert.equal(tellsOf("state").length, 1);
});

test("coming online, or back to the page, ends the wait or asks at once", () => {
  const { socket, window } = open();
  Wire.last.welcomes();
  window.dispatchEvent(new Event("visibilitychange"));
  window.dispatchEvent(new Event("online"));
  assert.deepEqual(Wire.last.sent, ["ping"]);
  Wire.last.breaks();
  window.dispatchEvent(new Event("online"));
  assert.equal(socket.state, "connecting");
  assert.equal(Wire.all.length, 2);
  mock.timers.tick(7_999);
  assert.equal(Wire.all.length, 2);
});

test("a final code ends it, others do not", () => {
  const { socket, window, tellsOf } = open();
  Wire.last.welcomes();
  socket.send("kept");
  Wire.last.breaks(1012);
  mock.timers.tick(250);
  Wire.last.breaks(4400, "no such name");
  assert.deepEqual(tellsOf("state").at(-1), { state: "closed", code: 4400, reason: "no such name" });
  window.dispatchEvent(new Event("online"));
  mock.timers.tick(60_000);
  assert.equal(Wire.all.length, 2);
  assert.deepEqual(socket.pending, [{ id: 1, event: "kept" }]);
});

test("it can be closed", () => {
  const { socket } = open();
  Wire.last.welcomes();
  socket.close();
  mock.timers.tick(60_000);
  assert.deepEqual([socket.state, Wire.last.closed, Wire.all.length], ["closed", true, 1]);
});

test("a page that is loaded again goes on with what it had not sent", () => {
  let kept = null;
  const store = { load: () => JSON.parse(kept), save: (saved) => (kept = JSON.stringify(saved)) };
  const first = open({ store });
  Wire.last.welcomes();
  first.socket.send("a");
  first.socket.send("b");
  Wire.last.says({ ack: 1 });
  const { url } = Wire.last;
  const second = open({ store });
  assert.equal(Wire.last.url.searchParams.get("client"), url.searchParams.get("client"));
  assert.deepEqual(second.socket.pending, [{ id: 2, event: "b" }]);
  Wire.last.welcomes({ ack: 1 });
  assert.equal(second.socket.send("c"), 3);
  assert.deepEqual(ids(Wire.last), [2, 3]);
});

/** What a browser has for all of its pages. */
function browser() {
  const held = new Set();
  const kept = new Map();
  const locks = {
    async request(name, { ifAvailable }, work) {
      assert.ok(ifAvailable);
      if (held.has(name)) return work(null);
      held.add(name);
      await work({ name });
    },
  };
  const localStorage = {
    getItem: (key) => kept.get(key) ?? null,
    setItem: (key, value) => {
      if (value.length > 100) throw new Error("full");
      kept.set(key, value);
    },
  };
  const define = (name, value) => Object.defineProperty(globalThis, name, { value, configurable: true });
  define("navigator", { locks });
  define("localStorage", localStorage);
  return { held, without: () => define("navigator", {}) };
}

test("each page has a store of its own, and one that comes back finds what it left", async () => {
  const { held } = browser();
  const [first, second] = [await claimStore("room"), await claimStore("room")];
  const saved = { client: "a", next: 2, pending: [{ id: 1, event: "x" }] };
  first.save(saved);
  assert.equal(second.load(), null);
  held.delete("room/1"); // the first page is closed
  assert.deepEqual((await claimStore("room")).load(), saved);
});

test("a store that is full keeps what it has", async () => {
  browser();
  const store = await claimStore("room");
  store.save({ client: "a", next: 1, pending: [] });
  store.save({ client: "a", next: 2, pending: [{ id: 1, event: "x".repeat(100) }] });
  assert.equal(store.load().next, 1);
});

test("without locks there is no store: two pages could use it", async () => {
  browser().without();
  assert.equal(await claimStore("room"), undefined);
});

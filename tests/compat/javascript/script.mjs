// The requests to both hosts. Each script returns the list of its answers. `sleep` drops an object from memory.

import { once } from "node:events";

import WebSocket from "ws";

import { programOf as interleavingOf } from "./interleaving.mjs";
import { programOf } from "./transactions.mjs";

const HEADERS = ["content-type", "location", "set-cookie", "x-method", "x-custom", "sec-websocket-protocol"];

/** Sends one request, and returns the comparable parts of its answer. */
async function ask(base, path, init) {
  const response = await fetch(base + path, { redirect: "manual", ...init });
  const headers = Object.fromEntries(
    HEADERS.map((name) => [name, response.headers.get(name)]).filter(([, value]) => value !== null),
  );
  const text = await response.text();
  let body = text;
  if (headers["content-type"] === "application/json") body = JSON.parse(text);
  return { path, status: response.status, headers, body };
}

/** Sends requests, one after the other. */
const requests =
  (...list) =>
  async ({ base }) => {
    const answers = [];
    for (const [path, init] of list) answers.push(await ask(base, path, init));
    return answers;
  };

const post = (body, headers) => ({ method: "POST", body, headers });

/** Repeats a request until the answer is as expected. */
async function eventually(base, path, ready) {
  for (const deadline = Date.now() + 300_000; ; await new Promise((resolve) => setTimeout(resolve, 20))) {
    const answer = await ask(base, path);
    if (ready(answer.body) || Date.now() > deadline) return answer;
  }
}

/** A WebSocket with everything that it received. */
async function connect(base, path) {
  const socket = new WebSocket(base.replace("http", "ws") + path);
  const received = [];
  socket.on("message", (data, isBinary) => received.push(isBinary ? [...data] : data.toString()));
  socket.on("close", (code, reason) => received.push(["closed", code, reason.toString()]));
  const closed = once(socket, "close");
  closed.catch(() => {});
  await once(socket, "open");
  const count = async (wanted) => {
    while (received.length < wanted) await once(socket, received.at(-1)?.[0] === "closed" ? "error" : "message");
  };
  return { socket, received, count, closed };
}

/**
 * Runs the program of a seed, and returns its trace and what is stored after it and all transactions that it did not
 * wait for.
 */
async function transactions(base, seed) {
  const object = `/transactions/program-${seed}`;
  const program = programOf(seed);
  const { status } = await ask(base, `${object}/`, post(JSON.stringify(program)));
  const { body } = await eventually(base, `${object}/result`, ({ open, trace }) => open === 0 && trace.some(isEnd));
  return { program: JSON.stringify(program), status, ...body };
}

/**
 * Runs the program of a seed: its clients begin, and go on together. Returns their statuses, the trace, and what is
 * stored in the end.
 */
async function interleaving(base, seed, unit) {
  const object = `/interleaving/program-${seed}-${unit}`;
  const program = interleavingOf(seed);
  const clients = program.clients.map((steps, index) =>
    ask(base, `${object}/client?name=c${index}`, post(JSON.stringify(steps))),
  );
  await eventually(base, `${object}/result`, ({ begun }) => begun === clients.length);
  const { status } = await ask(base, `${object}/go?unit=${unit}&throws=${program.throws}`);
  const statuses = (await Promise.all(clients)).map((answer) => answer.status);
  const { body } = await eventually(base, `${object}/result`, ({ open }) => open === 0);
  return { program: JSON.stringify(program), statuses: [status, ...statuses], ...body };
}

const isEnd = (line) => line.startsWith("main:");

/** Maps a list, so many at once. */
async function inParallel(count, list, map) {
  const results = [];
  const next = list.entries();
  const work = async () => {
    for (const [index, item] of next) results[index] = await map(item);
  };
  await Promise.all(Array.from({ length: count }, work));
  return results;
}

const PROGRAMS = Number(process.env.HOLDFAST_COMPAT_PROGRAMS ?? 250);

const INTERLEAVINGS = Number(process.env.HOLDFAST_COMPAT_INTERLEAVINGS ?? 150);

/** Milliseconds between two timers of a program. On a busy machine timers that are close change places. */
const UNITS = [20, 200, 1500];

/**
 * What runs programs whose order a busy machine may change: those that differ are run again with more time between
 * their timers.
 */
export const TIMED = {
  interleaving: {
    count: INTERLEAVINGS,
    units: UNITS,
    run: ({ base }, seeds, unit) => inParallel(25, seeds, (seed) => interleaving(base, seed, unit)),
  },
};

/** What is Holdfast's own: each returns the answers that are right, and those that it got. */
export const OWN = {
  "others wait": async ({ base, sleep }) => {
    const object = "/interleaving/others-wait";
    const nineteen = (steps) => {
      const clients = Array.from({ length: 19 }, (_, index) =>
        ask(base, `${object}/client?name=c${index}`, post(JSON.stringify(steps))),
      );
      return clients.map((client) => client.then(({ status, body }) => [status, body.code ?? body]));
    };
    const begun = (count) => eventually(base, `${object}/result`, (body) => body.begun === count);
    // The twentieth throws in the turn in which the others go on.
    const answered = nineteen([["nap", 1], ["put", "a"]]);
    await begun(19);
    const { status } = await ask(base, `${object}/go?unit=50&throws=true`);
    const first = await Promise.all(answered);
    await sleep("interleaving", "others-wait");
    const waiting = nineteen([["nap", 1]]);
    await begun(19);
    const { body: quick } = await ask(base, `${object}/result`);
    await sleep("interleaving", "others-wait");
    const dropped = (await Promise.all(waiting)).map(([code, text]) => [code, text.includes("instance-dropped")]);
    const each = (answer) => Array.from({ length: 19 }, () => answer);
    return [
      [500, ...each([200, ""]), 19, ...each([503, true])],
      [status, ...first, quick.begun, ...dropped],
    ];
  },
};

export const SCRIPTS = {
  counter: requests(
    ["/counter/ann/"],
    ["/counter/ann/increment", post("")],
    ["/counter/ann/increment?by=40", post("")],
    ["/counter/ann/"],
    ["/counter/bob/"],
    ["/counter/ann/name"],
    ["/counter/ann/nothing", post("")],
  ),

  web: requests(
    ["/web/w/echo", post(new Uint8Array([0, 1, 255]), { "x-custom": "yes" })],
    ["/web/w/echo", { method: "PATCH" }],
    ["/web/w/redirect"],
    ["/web/w/empty"],
    ["/web/w/json", post('{"a":[1,null,"ü"]}')],
    ["/web/w/form", post(new URLSearchParams({ a: "1 2", b: "ü&=" }))],
    ["/web/w/missing"],
    ["/web/w/globals"],
  ),

  "key-value": requests(
    ...["values", "many", "lists", "refusals", "transactions", "everything", "together"].map((name) => [
      `/kv/${name}/${name}`,
    ]),
  ),

  sql: requests(...["rows", "types", "errors", "large", "transaction"].map((name) => [`/sql/${name}/${name}`])),

  alarms: async ({ base }) => [
    await ask(base, "/alarms/a/refused"),
    await ask(base, "/alarms/a/set?in=3600000"),
    await ask(base, "/alarms/a/"),
    await ask(base, "/alarms/a/delete"),
    await ask(base, "/alarms/a/set?in=50"),
    await eventually(base, "/alarms/a/", ({ log }) => log.length === 1),
    await ask(base, "/alarms/a/set?in=-1000"),
    await eventually(base, "/alarms/a/", ({ log }) => log.length === 3),
    await ask(base, "/alarms/retried/fail?times=1"),
    await ask(base, "/alarms/retried/set?in=1"),
    await eventually(base, "/alarms/retried/", ({ log }) => log.length === 1),
  ],

  programs: async ({ base }) => {
    const { socket, received, count } = await connect(base, "/programs/p/socket");
    socket.send("hello");
    await count(1);
    socket.terminate();
    return [
      received[0],
      await ask(base, "/programs/p/module"),
      await ask(base, "/programs/p/using"),
      await ask(base, "/programs/p/copy"),
      await ask(base, "/programs/p/echo", post("text", { "x-custom": "a" })),
      await ask(base, "/programs/p/read", post("0123456789")),
      await ask(base, "/programs/p/stack"),
      await ask(base, "/programs/p/deep"),
    ];
  },

  refusals: async ({ base }) => {
    const storage = await ask(base, "/refusals/storage/");
    const { body: names } = await ask(base, "/refusals/sockets/names");
    const sockets = await inParallel(4, [...names, "accept and close"], async (name) => {
      const path = encodeURIComponent(name);
      const { socket, received, count, closed } = await connect(base, `/refusals/${path}/${path}`);
      await count(1);
      // workerd leaves the connection open after both close frames.
      while (socket.readyState === WebSocket.OPEN) await new Promise((resolve) => setTimeout(resolve, 5));
      socket.terminate();
      await closed;
      return [name, received];
    });
    return [...Object.entries(storage.body), ...sockets];
  },

  transactions: ({ base }) =>
    inParallel(
      50,
      Array.from({ length: PROGRAMS }, (_, index) => index + 1),
      (seed) => transactions(base, seed),
    ),

  "late work": async ({ base }) => [
    await ask(base, "/interleaving/late/forgotten"),
    await eventually(base, "/interleaving/late/result", ({ keys }) => keys.length === 3),
  ],

  depth: requests(["/waits/deep/deep"]),

  "keeping out": async ({ base }) => {
    const answers = [];
    for (const how of ["", "catches", "forgets", "fails", "fails&catches", "fails&forgets"]) {
      const object = `/waits/${how.replace("&", "-") || "plain"}`;
      const say = (name) => ask(base, `${object}/say?name=${name}`);
      const later = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
      // The first two come while the constructor waits.
      const first = say("first");
      await later(60);
      answers.push(await Promise.all([first, say("second")]));
      const blocked = ask(base, `${object}/block?${how}`);
      await later(180);
      const third = await say("third");
      // The text of an error is each host's own.
      const { status, body } = await blocked;
      if (!how.startsWith("fails")) answers.push(body, third);
      // What is forgotten is answered here before it fails. Who waits meanwhile is answered by the next instance.
      else if (!how.endsWith("forgets")) answers.push(status);
      await later(150);
      const trace = await ask(base, `${object}/trace`);
      answers.push(how.startsWith("fails") ? trace.body.filter((said) => said !== "third") : trace);
    }
    return answers;
  },

  "sockets after a wait": async ({ base }) => {
    const answers = [];
    for (const how of ["early", "late", "listens", "listens&late"]) {
      const { socket, received, count, closed } = await connect(base, `/waits/${how.replace("&", "-")}/socket?${how}`);
      await count(how.startsWith("listens") ? 3 : 5);
      socket.send("hello");
      await count(how.startsWith("listens") ? 4 : 6);
      if (how.startsWith("listens")) {
        socket.send(new Uint8Array([7, 8]));
        await count(5);
      }
      socket.send("close");
      await closed;
      answers.push(received);
    }
    for (const how of ["", "late", "listens", "listens&late"]) {
      const socket = new WebSocket(`${base.replace("http", "ws")}/waits/refuses/socket?refuses&${how}`);
      const refused = new Promise((resolve) => {
        socket.on("unexpected-response", (_request, { statusCode }) => resolve(statusCode));
      });
      socket.on("error", () => {});
      answers.push(await refused);
    }
    answers.push(await ask(base, "/waits/refuses/say?name=afterwards"));
    return answers;
  },

  chat: async ({ base, sleep }) => {
    const ann = await connect(base, "/chat/room/?name=ann");
    const bob = await connect(base, "/chat/room/?name=bob");
    await Promise.all([ann.count(1), bob.count(1)]);
    await sleep("chat", "room");
    ann.socket.send("all hello, wörld 🦀");
    await Promise.all([ann.count(2), bob.count(2)]);
    bob.socket.send("to ann psst");
    await ann.count(3);
    bob.socket.send(new Uint8Array([0, 1, 254]));
    await bob.count(3);
    bob.socket.send("ping");
    await bob.count(4);
    await sleep("chat", "room");
    bob.socket.send("state");
    await bob.count(5);
    ann.socket.send("all");
    await Promise.all([ann.count(4), bob.count(6)]);
    bob.socket.send("quit");
    await bob.closed;
    ann.socket.close(4000, "bye");
    await ann.closed;
    const log = await eventually(base, "/chat/room/log", (entries) => entries.length === 2);
    const refused = await new Promise((resolve) => {
      const socket = new WebSocket(`${base.replace("http", "ws")}/chat/room/?name=mallory`);
      socket.on("unexpected-response", (_request, response) => resolve(response.statusCode));
      socket.on("error", () => {});
    });
    return [ann.received, bob.received, log, refused, await ask(base, "/chat/room/")];
  },
};

// A host in memory, for tests of the SDK: keys and values, savepoints, an alarm, and a clock that goes on when somebody
// waits.

/** What the object has stored, and what was logged. */
export const stored = { keys: new Map(), alarm: null, log: [] };

let clock = 0;
const savepoints = [];

/** Late work: resumes by token, answers that were deferred and given, and whether handlers may defer theirs. */
export const late = { last: 0 };

/** The sockets that are open, by id: tags, attachment and messages. */
export const sockets = new Map();

const accepted = new Map();

/** The tokens of the resumes that are due next, at whose time the clock is then. */
export function nextResumes() {
  const due = Math.min(...[...late.resumes.values()].map(({ due }) => due));
  const tokens = [...late.resumes].filter(([, resume]) => resume.due === due).map(([token]) => token);
  tokens.forEach((token) => late.resumes.delete(token));
  if (tokens.length > 0) clock = Math.max(clock, due);
  return tokens;
}

/** Forget everything. */
export function reset() {
  restore({ keys: new Map(), alarm: null });
  stored.log = [];
  Object.assign(late, { resumes: new Map(), deferred: new Set(), replies: [], interleave: true });
  Object.assign(late, { exclusive: false, dropped: false, held: [] });
  sockets.clear();
  accepted.clear();
  savepoints.length = 0;
}

const snapshot = () => ({ keys: new Map(stored.keys), alarm: stored.alarm });
const restore = ({ keys, alarm }) => Object.assign(stored, { keys: new Map(keys), alarm });

/** As the engine shows a refusal. */
const refuse = (tag, val) => {
  throw Object.assign(new Error(tag), { payload: { tag, val } });
};

class Savepoint {
  #before = snapshot();

  constructor() {
    savepoints.push(this);
  }

  keep() {
    this.#end();
  }

  undo() {
    this.#end();
    restore(this.#before);
  }

  #end() {
    const at = savepoints.indexOf(this);
    if (at < 0) refuse("closed");
    savepoints.length = at;
  }

  [Symbol.dispose]() {
    if (savepoints.includes(this)) this.undo();
  }
}

const sorted = () => [...stored.keys].map(([key, value]) => ({ key, value })).sort((a, b) => (a.key < b.key ? -1 : 1));

const socket = (id) => sockets.get(id) ?? refuse("unknown-socket");

export const modules = {
  alarms: {
    get: () => stored.alarm,
    set: (time) => void (stored.alarm = time),
    delete: () => void (stored.alarm = null),
  },
  environment: { getEnvironment: () => [] },
  identity: { id: () => "0".repeat(64), name: () => "test", class: () => "test" },
  "key-value": {
    get: (key) => stored.keys.get(key) ?? null,
    put: (key, value) => void stored.keys.set(key, value),
    delete: (key) => stored.keys.delete(key),
    getMany: (keys) => sorted().filter(({ key }) => keys.includes(key)),
    putMany: (entries) => entries.forEach(({ key, value }) => stored.keys.set(key, value)),
    deleteMany: (keys) => keys.filter((key) => stored.keys.delete(key)).length,
    list: () => {
      const batches = [sorted()];
      return { next: () => batches.pop() ?? [] };
    },
  },
  later: {
    resumeAfter: (milliseconds, holds) => {
      if (late.resumes.size >= 1000) refuse("too-many", 1000);
      late.resumes.set(++late.last, { due: clock + milliseconds * 1e6, holds });
      return late.last;
    },
    cancel: (token) => late.resumes.delete(token),
    defer: () => {
      if (!late.interleave) refuse("not-deferrable");
      late.deferred.add(++late.last);
      return late.last;
    },
    reply: (token, answer) => {
      if (!late.deferred.delete(token)) refuse("gone");
      late.replies.push([token, answer]);
      const socket = accepted.get(token);
      if (socket && answer.val?.status === 101) sockets.set(socket.id, socket);
    },
    accept: (token, tags) => {
      if (!late.deferred.has(token)) refuse("gone");
      accepted.set(token, { id: ++late.last, tags, attachment: null, messages: [] });
      return late.last;
    },
    holdFor: (id) => void (sockets.has(id) ? late.held.push(id) : refuse("other", "the socket is closed")),
    exclusive: (on) => void (late.exclusive = on),
    dropInstance: () => void (late.dropped = true),
  },
  logging: { log: (level, message, fields) => void stored.log.push({ level, message, fields }) },
  "monotonic-clock": {
    now: () => clock,
    subscribeDuration: (nanoseconds) => ({ block: () => void (clock += nanoseconds) }),
  },
  "packed-sql": { exec: () => ({ changes: 0, packed: null, more: null }) },
  random: { getRandomBytes: (length) => new Uint8Array(length).fill(7) },
  storage: {
    openSavepoint: () => new Savepoint(),
    size: () => 0,
    deleteAll: () => (savepoints.length > 0 ? refuse("savepoint-open") : restore({ keys: new Map(), alarm: null })),
    sync: () => savepoints.length > 0 && refuse("savepoint-open"),
  },
  websockets: {
    accept: (tags) => {
      sockets.set(++late.last, { id: late.last, tags, attachment: null, messages: [] });
      return late.last;
    },
    sockets: () => [...sockets.keys()],
    broadcast: () => sockets.size,
    tags: (id) => socket(id).tags,
    attachment: (id) => socket(id).attachment,
    setAttachment: (id, bytes) => void (socket(id).attachment = bytes),
    send: (id, { val }) => void socket(id).messages.push(val),
    close: (id, code) => void socket(id).messages.push(code),
  },
};

reset();

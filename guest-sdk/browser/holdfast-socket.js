/**
 * A WebSocket that comes back. It connects again with growing waits, resumes after the last event it has seen, and keeps what is
 * sent until the object says that it has it. One module, no dependencies, no build: serve this file and import it.
 *
 *     const socket = new HoldfastSocket("/chat/lobby/socket", { parameters: { name: "ann" } });
 *     socket.addEventListener("event", ({ detail: { seq, event } }) => show(event));
 *     socket.send({ type: "message", text: "hello" });
 *
 * Invariants: an event with a number is reported once and in order; what was sent is in `pending` until it is
 * acknowledged or refused, whatever happens to connections; ids of messages rise by one and are never used for two messages.
 *
 * # What the object does for that
 * Frames are JSON texts, but for the heartbeat: `ping` is answered with `pong`, which is best left to the host (`auto-response`).
 *
 * The URL of the handshake has, beside the parameters, `client` (who this is: a random text, the same each time) and `after` (the
 * number of the last event seen, 0 at first). In the turn that accepts, the object sends
 *
 *     {"welcome": {"ack": N, "seq": S, "reset": false, "events": [{"seq": 18, "event": ..}, ..], ..}}
 *
 * with the last id that it has from this client (0: none), the number of the newest event, all events after `after`, and whatever
 * else the page wants to know. If it no longer has all of those it sends what it has, and `"reset": true`: this replaces all that
 * was reported before. From then on, in any order:
 *
 * | frame | from | means |
 * |---|---|---|
 * | `{"seq": 19, "event": ..}` | object | an event that is kept; numbers rise, not always by one |
 * | `{"event": ..}` | object | an event that is not kept, such as that a user is typing |
 * | `{"id": 5, "event": ..}` | client | a message to be acknowledged; sent again after each `welcome` until then |
 * | `{"event": ..}` | client | a message that may get lost |
 * | `{"ack": 5}` | object | it has all messages up to this id |
 * | `{"refused": {"id": 5, "reason": ".."}}` | object | it will never take this one, but has seen it: the next is 6 |
 * | `{"retry": {"after": 1500}}` | object | it has not taken the message after the last one acknowledged: send from there on again, in so many milliseconds |
 *
 * An object therefore takes a message if its id is one more than the last that it has from the client (or if it does not know
 * the client), acknowledges without another effect if it is not more, and ignores it if it is more.
 *
 * A close code from 4400 to 4499 is final: this side does not come back.
 *
 * @module
 */

/**
 * `connecting`: on its way. `open`: welcomed. `waiting`: connects again by itself, later. `closed`: permanently.
 * @typedef {"connecting" | "open" | "waiting" | "closed"} State
 *
 * @typedef {{ id: number, event: unknown }} Outgoing
 *
 * What a store keeps, so that a page that is loaded again goes on with what it had not sent. Only one page at a time may use it.
 * @typedef {{ client: string, next: number, pending: Outgoing[] }} Saved
 * @typedef {{ load: () => Saved | null, save: (saved: Saved) => void }} Store
 *
 * @typedef {object} Options
 * @property {Record<string, string>} [parameters] More parameters for the URL, such as a name.
 * @property {Store} [store] Where unacknowledged messages outlive the page; in memory only without it.
 * @property {number} [firstWait] Milliseconds before the first attempt to connect again; doubles with each. Default 250.
 * @property {number} [longestWait] The longest wait between attempts. Default 15,000.
 * @property {number} [heartbeat] Silence after which a connection is asked whether it lives. Default 25,000.
 * @property {number} [patience] How long an answer may take: to the handshake, or to `ping`. Default 8,000.
 * @property {typeof WebSocket} [WebSocket] For tests.
 * @property {() => number} [random] For tests.
 * @property {EventTarget} [window] Where `online`, `offline` and `visibilitychange` come. For tests.
 */

const FINAL = { first: 4400, last: 4499 };

/**
 * Dispatches `CustomEvent`s:
 *
 * - `state`, `{ state, retryIn, code, reason }`: when it changes. `retryIn` is milliseconds, when waiting; code and reason are those
 *   of the last connection that ended.
 * - `welcome`, the welcome itself: before its events.
 * - `event`, `{ seq, event }`: from the object; without `seq` if it is not kept.
 * - `acknowledged`, `{ id, event }`, for each message that the object has.
 * - `refused`, `{ id, event, reason }`, for each that it will not take.
 */
export class HoldfastSocket extends EventTarget {
  #url;
  #options;
  /** @type {WebSocket | null} */ #connection = null;
  /** @type {State} */ #state = "closed";
  #client;
  #next = 1;
  /** @type {Outgoing[]} */ #pending = [];
  #after = 0;
  #attempts = 0;
  /** Whether the object asked to be left alone for a while. */
  #held = false;
  /** @type {Record<"connect" | "beat" | "answer" | "retry", ReturnType<typeof setTimeout> | undefined>} */
  #timers = { connect: undefined, beat: undefined, answer: undefined, retry: undefined };

  /**
   * Connects at once.
   * @param {string | URL} url Of the object's WebSocket; relative to the page, `http` or `ws`.
   * @param {Options} [options]
   */
  constructor(url, options = {}) {
    super();
    this.#url = new URL(url, globalThis.location?.href);
    this.#url.protocol = this.#url.protocol.replace("http", "ws");
    this.#options = {
      firstWait: 250,
      longestWait: 15_000,
      heartbeat: 25_000,
      patience: 8_000,
      WebSocket: globalThis.WebSocket,
      random: Math.random,
      window: /** @type {EventTarget | undefined} */ (globalThis.window),
      ...options,
    };
    const saved = options.store?.load();
    this.#client = saved?.client ?? randomId();
    this.#next = saved?.next ?? 1;
    this.#pending = saved?.pending ?? [];
    const { window } = this.#options;
    window?.addEventListener("online", this.#wake);
    window?.addEventListener("offline", this.#wake);
    window?.addEventListener("visibilitychange", this.#wake);
    this.#connect();
  }

  /** @returns {State} */
  get state() {
    return this.#state;
  }

  /** Messages that are neither acknowledged nor refused, in their order. */
  get pending() {
    return [...this.#pending];
  }

  /**
   * Sends a message, now or as soon as there is a connection, until the object has it.
   * @param {unknown} event Anything that JSON can say.
   * @returns {number} Its id.
   */
  send(event) {
    const message = { id: this.#next++, event };
    this.#pending.push(message);
    this.#save();
    if (this.#state === "open" && !this.#held) this.#transmit(message);
    return message.id;
  }

  /**
   * Sends a message that may get lost, if there is a connection.
   * @param {unknown} event Anything that JSON can say.
   */
  sendNow(event) {
    if (this.#state === "open") this.#transmit({ event });
  }

  /** Does not wait any longer: connects, or asks whether the connection lives. */
  wake() {
    if (this.#state === "waiting") this.#connect();
    else if (this.#state === "open") this.#ask();
  }

  /** Closes permanently. What is pending stays in the store. */
  close() {
    this.#end(1000, "");
  }

  #wake = () => {
    if (globalThis.document?.visibilityState !== "hidden") this.wake();
  };

  #connect() {
    clearTimeout(this.#timers.connect);
    this.#url.search = new URLSearchParams({
      ...this.#options.parameters,
      client: this.#client,
      after: String(this.#after),
    }).toString();
    this.#change("connecting");
    const connection = new this.#options.WebSocket(this.#url);
    this.#connection = connection;
    connection.onmessage = ({ data }) => this.#receive(data);
    connection.onclose = ({ code, reason }) => this.#lost(code, reason);
    this.#timers.answer = setTimeout(() => this.#lost(1006, ""), this.#options.patience);
  }

  /** Lets go of the connection without waiting for it: one that is dead takes long to admit it. */
  #drop() {
    for (const timer of Object.values(this.#timers)) clearTimeout(timer);
    this.#timers.answer = undefined;
    this.#held = false;
    if (!this.#connection) return;
    this.#connection.onmessage = this.#connection.onclose = null;
    this.#connection.close();
    this.#connection = null;
  }

  /** @param {number} code @param {string} reason */
  #lost(code, reason) {
    if (code >= FINAL.first && code <= FINAL.last) return this.#end(code, reason);
    this.#drop();
    const { firstWait, longestWait, random } = this.#options;
    const wait = Math.min(longestWait, firstWait * 2 ** this.#attempts++);
    // Half of it is chance: clients that were lost together do not come back together.
    const retryIn = wait * (0.5 + random() / 2);
    this.#timers.connect = setTimeout(() => this.#connect(), retryIn);
    this.#change("waiting", { retryIn, code, reason });
  }

  /** @param {number} code @param {string} reason */
  #end(code, reason) {
    this.#drop();
    const { window } = this.#options;
    window?.removeEventListener("online", this.#wake);
    window?.removeEventListener("offline", this.#wake);
    window?.removeEventListener("visibilitychange", this.#wake);
    this.#change("closed", { code, reason });
  }

  /** @param {string} data */
  #receive(data) {
    clearTimeout(this.#timers.answer);
    this.#timers.answer = undefined;
    clearTimeout(this.#timers.beat);
    this.#timers.beat = setTimeout(() => this.#ask(), this.#options.heartbeat);
    if (data === "pong") return;
    const frame = JSON.parse(data);
    if (frame.welcome) this.#welcomed(frame.welcome);
    if ("event" in frame) this.#happened(frame);
    if (frame.ack) this.#acknowledged(frame.ack);
    if (frame.refused) this.#refused(frame.refused);
    if (frame.retry) this.#hold(frame.retry.after);
  }

  /** @param {{ ack: number, seq: number, reset?: boolean, events?: { seq: number, event: unknown }[] }} welcome */
  #welcomed(welcome) {
    this.#attempts = 0;
    if (welcome.reset) this.#after = 0;
    this.#acknowledged(welcome.ack);
    this.#next = Math.max(this.#next, welcome.ack + 1);
    this.#change("open");
    this.#tell("welcome", welcome);
    for (const event of welcome.events ?? []) this.#happened(event);
    this.#after = Math.max(this.#after, welcome.seq);
    for (const message of this.#pending) this.#transmit(message);
  }

  /** @param {{ seq?: number, event: unknown }} happened */
  #happened({ seq, event }) {
    if (seq !== undefined && seq <= this.#after) return;
    this.#after = seq ?? this.#after;
    this.#tell("event", { seq, event });
  }

  /** @param {number} id */
  #acknowledged(id) {
    const done = this.#pending.filter((message) => message.id <= id);
    this.#settle(done);
    for (const message of done) this.#tell("acknowledged", message);
  }

  /** @param {{ id: number, reason: string }} refused */
  #refused({ id, reason }) {
    const refused = this.#pending.filter((message) => message.id === id);
    this.#settle(refused);
    for (const message of refused) this.#tell("refused", { ...message, reason });
  }

  /** @param {number} wait */
  #hold(wait) {
    this.#held = true;
    clearTimeout(this.#timers.retry);
    this.#timers.retry = setTimeout(() => {
      this.#held = false;
      for (const message of this.#pending) this.#transmit(message);
    }, wait);
  }

  /** @param {Outgoing[]} done */
  #settle(done) {
    if (done.length === 0) return;
    this.#pending = this.#pending.filter((message) => !done.includes(message));
    this.#save();
  }

  #ask() {
    if (this.#timers.answer !== undefined) return;
    this.#timers.answer = setTimeout(() => this.#lost(1006, ""), this.#options.patience);
    this.#connection?.send("ping");
  }

  /** @param {object} frame */
  #transmit(frame) {
    this.#connection?.send(JSON.stringify(frame));
  }

  #save() {
    this.#options.store?.save({ client: this.#client, next: this.#next, pending: this.#pending });
  }

  /** @param {State} state @param {{ retryIn?: number, code?: number, reason?: string }} [why] */
  #change(state, why = {}) {
    this.#state = state;
    this.#tell("state", { state, ...why });
  }

  /** @param {string} type @param {unknown} detail */
  #tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

/** `crypto.randomUUID` is there on secure pages only. */
function randomId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/**
 * A store in `localStorage` that no other page of this browser uses, as long as this page is open: the first that is free, so that a
 * page that comes back finds what it left. Without locks (on pages that are not secure) there is none.
 *
 * @param {string} name For pages that may share, such as those of one room.
 * @returns {Promise<Store | undefined>}
 */
export async function claimStore(name) {
  for (let n = 1; globalThis.navigator?.locks; n++) {
    const key = `${name}/${n}`;
    const claimed = await new Promise((resolve) => {
      navigator.locks.request(key, { ifAvailable: true }, (lock) => {
        resolve(lock !== null);
        // Held until the page is gone.
        return lock && new Promise(() => {});
      });
    });
    if (claimed) {
      return {
        load: () => JSON.parse(localStorage.getItem(key) ?? "null"),
        save: (saved) => {
          try {
            localStorage.setItem(key, JSON.stringify(saved));
          } catch {
            // It is full or forbidden: what is pending lives as long as the page.
          }
        },
      };
    }
  }
  return undefined;
}

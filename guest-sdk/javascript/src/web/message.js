// `Request` and `Response` after the Fetch Standard. Bodies are whole: what comes from the host is complete, and so is
// what goes to it. There are no streams, no `Blob` and no `FormData`.

import { bytesOf, fromText, toTextLossy } from "../bytes.js";
import { hostObject } from "../serialize.js";
import { AbortController } from "./events.js";
import { Headers } from "./headers.js";
import { URL, URLSearchParams } from "./url.js";

/** Give a message its body. Answers the type that goes with it when the headers have none. */
let setBody;
/** The bytes of a message's body, to be read once; null if it has none. */
export let takeBody;
/** The bytes of a message's body, to be read again; null if it has none. */
let peekBody;

/** Whether a message's body was read. */
let isUsed;

const NOTHING = new Uint8Array();

/** Bytes that belong to the message that is made with them, so that it needs no copy. */
class Own {
  constructor(bytes) {
    this.bytes = bytes;
  }
}

/** The body of a message for those who read streams: it comes in one piece. */
class Body {
  #message;
  #reader;

  constructor(message) {
    this.#message = message;
  }

  /** The bytes, for another message. */
  take() {
    if (this.#reader) throw new TypeError("This ReadableStream is currently locked to a reader.");
    return takeBody(this.#message);
  }

  get locked() {
    return this.#reader !== undefined || isUsed(this.#message);
  }

  getReader() {
    if (this.locked) throw new TypeError("This ReadableStream is currently locked to a reader.");
    let isDone = false;
    this.#reader = {
      read: async () => {
        const value = isDone ? NOTHING : (takeBody(this.#message) ?? NOTHING);
        isDone = true;
        return value.length === 0 ? { done: true, value: undefined } : { done: false, value };
      },
      cancel: async () => void (isDone = true),
      releaseLock: () => void (this.#reader = undefined),
    };
    return this.#reader;
  }

  async cancel() {
    this.take();
  }

  async *[Symbol.asyncIterator]() {
    const bytes = this.take();
    if (bytes.length > 0) yield bytes;
  }

  values() {
    return this[Symbol.asyncIterator]();
  }
}
Object.defineProperty(Body.prototype, Symbol.toStringTag, { value: "ReadableStream", configurable: true });
Object.defineProperty(Body.prototype, hostObject, { value: true });

/** What bodies are made of elsewhere, and not every engine has. */
const NO_BODIES = ["Blob", "FormData"];
const isA = (name, value) => globalThis[name] && value instanceof globalThis[name];

/** What `Request` and `Response` have in common. */
class Message {
  #bytes = null;
  #used = false;
  #body;

  static {
    setBody = (message, body) => {
      if (body === undefined || body === null) return undefined;
      if (body instanceof Own) {
        message.#bytes = body.bytes;
        return undefined;
      }
      if (body instanceof Body) {
        message.#bytes = body.take();
        return undefined;
      }
      const bytes = bytesOf(body);
      if (bytes) {
        message.#bytes = bytes.slice();
        return undefined;
      }
      if (typeof body.getReader === "function" || NO_BODIES.some((name) => isA(name, body)))
        throw new TypeError("a body is text or bytes here; read a stream or Blob before");
      message.#bytes = fromText(String(body));
      return body instanceof URLSearchParams
        ? "application/x-www-form-urlencoded;charset=UTF-8"
        : "text/plain;charset=UTF-8";
    };
    peekBody = (message) => {
      if (message.#used) throw new TypeError("Body has already been used. It can only be used once.");
      return message.#bytes;
    };
    takeBody = (message) => {
      const bytes = peekBody(message);
      message.#used = bytes !== null;
      // What is read is let go.
      if (message.#used) message.#bytes = NOTHING;
      return bytes;
    };
    isUsed = (message) => message.#used;
  }

  /**
   * Null for a message without a body. It is no stream, but can be read like one, and be the body of another message.
   */
  get body() {
    if (this.#bytes === null) return null;
    this.#body ??= new Body(this);
    return this.#body;
  }

  get bodyUsed() {
    return this.#used;
  }

  async bytes() {
    // They are nobody else's: a body is read once.
    return takeBody(this) ?? new Uint8Array();
  }

  async arrayBuffer() {
    const bytes = takeBody(this) ?? new Uint8Array();
    return bytes.length === bytes.buffer.byteLength ? bytes.buffer : bytes.slice().buffer;
  }

  async text() {
    return toTextLossy(takeBody(this) ?? new Uint8Array()).replace(/^\ufeff/, "");
  }

  async json() {
    return JSON.parse(await this.text());
  }
}
Message.prototype[hostObject] = true;

const own = (bytes) => bytes && new Own(bytes);

const METHODS = /^(delete|get|head|options|post|put|patch)$/i;

/** A request as the host gives it: parts that need no checks. `headers` is called when they are asked for. */
export class Arrival {
  constructor(method, url, headers, body) {
    Object.assign(this, { method, url, headers, body });
  }
}

export class Request extends Message {
  #method;
  #url;
  #headers;
  #signal;
  #redirect;

  constructor(input, init = {}) {
    super();
    if (input instanceof Arrival) {
      this.#method = input.method;
      this.#url = input.url;
      this.#headers = input.headers;
      this.#redirect = "manual";
      if (input.body.length > 0) setBody(this, new Own(input.body));
      return;
    }
    const from = input instanceof Request ? input : undefined;
    const method = String(init.method ?? from?.method ?? "GET");
    this.#method = METHODS.test(method) ? method.toUpperCase() : method;
    this.#url = from ? from.url : new URL(input).href;
    this.#headers = new Headers(init.headers ?? from?.headers);
    this.#signal = init.signal ?? from?.signal;
    this.#redirect = init.redirect ?? from?.redirect ?? "follow";
    const body = init.body ?? (from && own(takeBody(from)));
    if (body !== undefined && body !== null && /^(GET|HEAD)$/.test(this.#method)) {
      throw new TypeError("Request with a GET or HEAD method cannot have a body.");
    }
    const type = setBody(this, body);
    if (type && !this.#headers.has("content-type")) this.#headers.set("content-type", type);
  }

  get method() {
    return this.#method;
  }

  get url() {
    return this.#url;
  }

  get headers() {
    if (typeof this.#headers === "function") this.#headers = this.#headers();
    return this.#headers;
  }

  get signal() {
    this.#signal ??= new AbortController().signal;
    return this.#signal;
  }

  get redirect() {
    return this.#redirect;
  }

  clone() {
    const { method, headers, redirect } = this;
    return new Request(this.#url, { method, headers, redirect, signal: this.#signal, body: peekBody(this) });
  }
}

const NULL_BODY = [101, 204, 205, 304];

export class Response extends Message {
  #status;
  #statusText;
  #headers;
  #webSocket;

  constructor(body = null, { status = 200, statusText = "", headers, webSocket = null } = {}) {
    super();
    this.#status = Number(status);
    const inRange = webSocket ? this.#status === 101 : this.#status >= 200 && this.#status <= 599;
    if (!Number.isInteger(this.#status) || !inRange) {
      throw new RangeError(
        webSocket || this.#status === 101
          ? "Responses with a WebSocket must have status code 101, and the other way round."
          : "Responses may only be constructed with status codes in the range 200 to 599, inclusive.",
      );
    }
    if (body !== null && body !== undefined && NULL_BODY.includes(this.#status)) {
      throw new TypeError("Response with null body status (101, 204, 205, or 304) cannot have a body.");
    }
    this.#statusText = String(statusText);
    this.#headers = new Headers(headers);
    this.#webSocket = webSocket;
    const type = setBody(this, body);
    if (type && !this.#headers.has("content-type")) this.#headers.set("content-type", type);
  }

  static json(value, init = {}) {
    const headers = new Headers(init.headers);
    if (!headers.has("content-type")) headers.set("content-type", "application/json");
    const text = JSON.stringify(value);
    if (text === undefined) throw new TypeError("the value cannot be JSON");
    return new Response(text, { ...init, headers });
  }

  static redirect(url, status = 302) {
    if (![301, 302, 303, 307, 308].includes(status)) throw new RangeError(`${status} is no redirect`);
    return new Response(null, { status, headers: { location: new URL(url).href } });
  }

  static error() {
    throw new TypeError("an object cannot answer with a network error; throw one instead");
  }

  get status() {
    return this.#status;
  }

  get statusText() {
    return this.#statusText;
  }

  get ok() {
    return this.#status >= 200 && this.#status <= 299;
  }

  get headers() {
    return this.#headers;
  }

  get webSocket() {
    return this.#webSocket;
  }

  get redirected() {
    return false;
  }

  get type() {
    return "default";
  }

  get url() {
    return "";
  }

  clone() {
    if (this.#webSocket) throw new TypeError("a response with a WebSocket cannot be cloned");
    const init = { status: this.#status, statusText: this.#statusText, headers: this.#headers };
    return new Response(peekBody(this), init);
  }
}

for (const [kind, name] of [
  [Request, "Request"],
  [Response, "Response"],
]) {
  Object.defineProperty(kind.prototype, Symbol.toStringTag, { value: name, configurable: true });
}

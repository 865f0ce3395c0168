// Types of "holdfast", and of the globals that a class finds. Names and meanings are those of @cloudflare/workers-types, so a
// class that is typed with that package needs this one only for what is Holdfast's own.

/// <reference path="./cloudflare-workers.d.ts" />

/** The base of every class. The constructor runs in the first turn of an instance, before that turn's handler. */
export declare abstract class DurableObject<Env = Record<string, string>> {
  protected ctx: DurableObjectState;
  protected env: Env;
  constructor(ctx: DurableObjectState, env: Env);
  fetch?(request: Request): Response | Promise<Response>;
  alarm?(info: AlarmInvocationInfo): void | Promise<void>;
  webSocketMessage?(socket: WebSocket, message: string | ArrayBuffer): void | Promise<void>;
  webSocketClose?(socket: WebSocket, code: number, reason: string, wasClean: boolean): void | Promise<void>;
  webSocketError?(socket: WebSocket, error: unknown): void | Promise<void>;
}

/** Thrown by a handler it fails the turn with this code; thrown by the SDK it is a refusal of the host. */
export declare class ClassError extends Error {
  /** `[a-z0-9-]`, 1 to 64 bytes: what clients can match on, or the case of the contract. */
  readonly code: string;
  /** Whether the same request may succeed later: 503 instead of 500 over HTTP. */
  readonly retryable: boolean;
  /** For a refusal of the host: what the case of the contract carries, null if nothing. */
  readonly detail: unknown;
  constructor(code: string, message: string, options?: { retryable?: boolean; detail?: unknown; cause?: unknown });
}

/** For sources that hold a worker beside their object. Nothing calls it. */
export declare abstract class WorkerEntrypoint<Env = Record<string, string>> {
  protected ctx: unknown;
  protected env: Env;
  constructor(ctx: unknown, env: Env);
}

/** For sources that import it. Objects have no methods that others could call. */
export declare abstract class RpcTarget {}

declare const WebSocketPair_: typeof WebSocketPair;
declare const WebSocketRequestResponsePair_: typeof WebSocketRequestResponsePair;
export { WebSocketPair_ as WebSocketPair, WebSocketRequestResponsePair_ as WebSocketRequestResponsePair };

declare global {
  interface DurableObjectState {
    readonly id: DurableObjectId;
    /** The name of the object's class. Holdfast's own. */
    readonly className: string;
    readonly storage: DurableObjectStorage;
    /** Keep the turn, and with it the answer, waiting for a promise. */
    waitUntil(promise: Promise<unknown>): void;
    blockConcurrencyWhile<T>(callback: () => Promise<T>): Promise<T>;
    /** Accept the WebSocket that the turn's request asks for: up to 10 tags of at most 256 bytes. */
    acceptWebSocket(socket: WebSocket, tags?: string[]): void;
    /** The open sockets with this tag, or all of them, oldest first. */
    getWebSockets(tag?: string): WebSocket[];
    getTags(socket: WebSocket): string[];
    /** Send one message to all open sockets with this tag, or to all; answers how many there are. Holdfast's own. */
    broadcast(message: string | ArrayBuffer | ArrayBufferView, tag?: string): number;
    setWebSocketAutoResponse(pair?: WebSocketRequestResponsePair): void;
    getWebSocketAutoResponse(): WebSocketRequestResponsePair | null;
    getWebSocketAutoResponseTimestamp(socket: WebSocket): Date | null;
    setHibernatableWebSocketEventTimeout(milliseconds?: number): void;
    getHibernatableWebSocketEventTimeout(): number | null;
    /**
     * Fail the turn: nothing that it wrote remains, and the next one begins with a new instance. An alarm is not tried again with
     * `retryAlarm: false`.
     */
    abort(reason?: string | Error, options?: { retryAlarm?: boolean }): never;
  }

  interface DurableObjectId {
    /** 64 lowercase hexadecimal digits. */
    toString(): string;
    /** The name that the object was reached by; undefined for an object with a unique id. */
    readonly name?: string;
    equals(other: DurableObjectId): boolean;
  }

  interface AlarmInvocationInfo {
    /** What the alarm was set to, in milliseconds since the Unix epoch. */
    readonly scheduledTime: number;
    /** How many attempts have failed, from 0 to 6. */
    readonly retryCount: number;
    readonly isRetry: boolean;
  }

  interface DurableObjectListOptions {
    start?: string;
    startAfter?: string;
    end?: string;
    prefix?: string;
    reverse?: boolean;
    limit?: number;
  }

  /** Keys of 1 to 2,048 bytes; a key and its value have at most 2,000,000 bytes together; 128 keys in one call. */
  interface DurableObjectTransaction {
    get<T = unknown>(key: string): Promise<T | undefined>;
    get<T = unknown>(keys: string[]): Promise<Map<string, T>>;
    put<T>(key: string, value: T): Promise<void>;
    put<T>(entries: Record<string, T>): Promise<void>;
    delete(key: string): Promise<boolean>;
    delete(keys: string[]): Promise<number>;
    list<T = unknown>(options?: DurableObjectListOptions): Promise<Map<string, T>>;
    getAlarm(): Promise<number | null>;
    setAlarm(time: number | Date): Promise<void>;
    deleteAlarm(): Promise<void>;
    rollback(): void;
    /** Throws: not within a transaction. */
    deleteAll(): never;
  }

  interface DurableObjectStorage extends Omit<DurableObjectTransaction, "rollback" | "deleteAll"> {
    readonly kv: SyncKvStorage;
    readonly sql: SqlStorage;
    /** Remove keys, tables and the alarm. */
    deleteAll(): Promise<void>;
    /** Make what the turn has written so far durable: it stays even if the turn fails later. */
    sync(): Promise<void>;
    /**
     * What the closure writes stays as a whole, or not at all if it throws. One runs after the other; other work of the turn waits for its
     * end. Transactions nest, 32 deep.
     */
    transaction<T>(closure: (transaction: DurableObjectTransaction) => Promise<T>): Promise<T>;
    transactionSync<T>(closure: () => T): T;
  }

  interface SyncKvStorage {
    get<T = unknown>(key: string): T | undefined;
    put<T>(key: string, value: T): void;
    delete(key: string): boolean;
    list<T = unknown>(options?: DurableObjectListOptions): IterableIterator<[string, T]>;
  }

  /** A BigInt is read where a number would not be exact, and bound as an integer where a number is bound as a float. */
  type SqlStorageValue = ArrayBuffer | string | number | bigint | null;

  interface SqlStorage {
    /** Run one or more statements; bindings, columns and rows belong to the last. */
    exec<T extends Record<string, SqlStorageValue> = Record<string, SqlStorageValue>>(
      query: string,
      ...bindings: (SqlStorageValue | ArrayBufferView | boolean | undefined)[]
    ): SqlStorageCursor<T>;
    readonly databaseSize: number;
  }

  interface SqlStorageCursor<T extends Record<string, SqlStorageValue>> extends Iterable<T> {
    next(): { done?: false; value: T } | { done: true; value?: undefined };
    toArray(): T[];
    /** The only row; an error if there is none, or another one. */
    one(): T;
    /** The rows as arrays, in the order of the columns. */
    raw<U extends SqlStorageValue[] = SqlStorageValue[]>(): IteratorObject<U, undefined>;
    readonly columnNames: string[];
    /** Rows that were read from the cursor so far. */
    readonly rowsRead: number;
    /** Rows that the statements inserted, updated or deleted. */
    readonly rowsWritten: number;
  }

  interface WebSocket {
    readonly readyState: number;
    /** What a message of bytes is, for listeners. It cannot be changed. */
    binaryType: "arraybuffer";
    send(message: string | ArrayBuffer | ArrayBufferView): void;
    close(code?: number, reason?: string): void;
    /** Keep a structured value of at most 16,384 bytes with the socket. */
    serializeAttachment(value: unknown): void;
    deserializeAttachment<T = any>(): T | null;
    /**
     * Open the socket for its listeners. It holds the instance in memory while it is open, and is closed with code 1012 if the instance is dropped.
     * With `ctx.acceptWebSocket()` events come to the class's handlers instead, and no instance is held.
     */
    accept(): void;
    addEventListener(type: "message", listener: (event: MessageEvent) => void): void;
    addEventListener(type: "close", listener: (event: CloseEvent) => void): void;
    addEventListener(type: "error", listener: (event: ErrorEvent) => void): void;
    removeEventListener(type: string, listener: (event: any) => void): void;
  }
  var WebSocket: {
    readonly CONNECTING: 0;
    readonly OPEN: 1;
    readonly CLOSING: 2;
    readonly CLOSED: 3;
  };

  /** `0` is the client's end, for the response; `1` is the object's, to accept. */
  class WebSocketPair {
    constructor();
    0: WebSocket;
    1: WebSocket;
  }

  class WebSocketRequestResponsePair {
    constructor(request: string, response: string);
    readonly request: string;
    readonly response: string;
  }

  /** A body in one piece, to be read like a stream, or to be the body of another message. */
  interface BodyStream extends AsyncIterable<Uint8Array<ArrayBuffer>> {
    readonly locked: boolean;
    getReader(): {
      read(): Promise<{ done: false; value: Uint8Array<ArrayBuffer> } | { done: true; value?: undefined }>;
      cancel(): Promise<void>;
      releaseLock(): void;
    };
    cancel(): Promise<void>;
  }

  interface Body {
    readonly body: BodyStream | null;
    readonly bodyUsed: boolean;
    arrayBuffer(): Promise<ArrayBuffer>;
    bytes(): Promise<Uint8Array<ArrayBuffer>>;
    json<T = any>(): Promise<T>;
    text(): Promise<string>;
  }

  type HeadersInit = Headers | Iterable<readonly [string, string]> | Record<string, string>;
  type BodyInit = string | ArrayBuffer | ArrayBufferView | URLSearchParams | BodyStream;

  class Headers implements Iterable<[string, string]> {
    constructor(init?: HeadersInit);
    append(name: string, value: string): void;
    delete(name: string): void;
    get(name: string): string | null;
    getSetCookie(): string[];
    has(name: string): boolean;
    set(name: string, value: string): void;
    forEach(callback: (value: string, name: string, headers: Headers) => void, self?: unknown): void;
    entries(): IterableIterator<[string, string]>;
    keys(): IterableIterator<string>;
    values(): IterableIterator<string>;
    [Symbol.iterator](): IterableIterator<[string, string]>;
  }

  interface RequestInit {
    method?: string;
    headers?: HeadersInit;
    body?: BodyInit | null;
    redirect?: string;
    signal?: AbortSignal;
  }

  interface Request extends Body {
    readonly method: string;
    readonly url: string;
    readonly headers: Headers;
    readonly redirect: string;
    readonly signal: AbortSignal;
    clone(): Request;
  }
  var Request: { new (input: Request | URL | string, init?: RequestInit): Request };

  interface ResponseInit {
    /** 200 to 599, or 101 with a WebSocket. */
    status?: number;
    statusText?: string;
    headers?: HeadersInit;
    webSocket?: WebSocket | null;
  }

  interface Response extends Body {
    readonly status: number;
    readonly statusText: string;
    readonly ok: boolean;
    readonly headers: Headers;
    readonly webSocket: WebSocket | null;
    clone(): Response;
  }
  var Response: {
    new (body?: BodyInit | null, init?: ResponseInit): Response;
    json(value: unknown, init?: ResponseInit): Response;
    redirect(url: string | URL, status?: number): Response;
  };

  class URL {
    constructor(url: string | URL, base?: string | URL);
    static canParse(url: string | URL, base?: string | URL): boolean;
    static parse(url: string | URL, base?: string | URL): URL | null;
    href: string;
    readonly origin: string;
    protocol: string;
    username: string;
    password: string;
    host: string;
    hostname: string;
    port: string;
    pathname: string;
    search: string;
    readonly searchParams: URLSearchParams;
    hash: string;
    toString(): string;
    toJSON(): string;
  }

  class URLSearchParams implements Iterable<[string, string]> {
    constructor(init?: string | Iterable<readonly [string, string]> | Record<string, string>);
    readonly size: number;
    append(name: string, value: string): void;
    delete(name: string, value?: string): void;
    get(name: string): string | null;
    getAll(name: string): string[];
    has(name: string, value?: string): boolean;
    set(name: string, value: string): void;
    sort(): void;
    forEach(callback: (value: string, name: string, params: URLSearchParams) => void, self?: unknown): void;
    entries(): IterableIterator<[string, string]>;
    keys(): IterableIterator<string>;
    values(): IterableIterator<string>;
    toString(): string;
    [Symbol.iterator](): IterableIterator<[string, string]>;
  }

  class TextEncoder {
    readonly encoding: "utf-8";
    encode(text?: string): Uint8Array<ArrayBuffer>;
    encodeInto(text: string, target: Uint8Array): { read: number; written: number };
  }

  class TextDecoder {
    constructor(label?: string, options?: { fatal?: boolean; ignoreBOM?: boolean });
    readonly encoding: "utf-8";
    decode(input?: ArrayBuffer | ArrayBufferView, options?: { stream?: boolean }): string;
  }

  class Event {
    constructor(type: string, options?: { cancelable?: boolean });
    readonly type: string;
    readonly target: EventTarget | null;
    readonly defaultPrevented: boolean;
    preventDefault(): void;
    stopImmediatePropagation(): void;
  }

  class CustomEvent<T = unknown> extends Event {
    constructor(type: string, options?: { cancelable?: boolean; detail?: T });
    readonly detail: T;
  }

  /** A message that a WebSocket has received. */
  class MessageEvent extends Event {
    constructor(type: string, init?: { data?: unknown });
    readonly data: any;
  }

  /** The end of a WebSocket. */
  class CloseEvent extends Event {
    constructor(type: string, init?: { code?: number; reason?: string; wasClean?: boolean });
    readonly code: number;
    readonly reason: string;
    readonly wasClean: boolean;
  }

  /** The failure of a WebSocket. */
  class ErrorEvent extends Event {
    constructor(type: string, init?: { message?: string; error?: unknown });
    readonly message: string;
    readonly error: any;
  }

  type Listener = ((event: Event) => void) | { handleEvent(event: Event): void };

  class EventTarget {
    addEventListener(
      type: string,
      listener: Listener | null,
      options?: boolean | { once?: boolean; signal?: AbortSignal },
    ): void;
    removeEventListener(type: string, listener: Listener | null): void;
    dispatchEvent(event: Event): boolean;
  }

  interface AbortSignal extends EventTarget {
    readonly aborted: boolean;
    readonly reason: any;
    onabort: ((event: Event) => void) | null;
    throwIfAborted(): void;
  }
  var AbortSignal: {
    abort(reason?: unknown): AbortSignal;
    any(signals: Iterable<AbortSignal>): AbortSignal;
    timeout(milliseconds: number): AbortSignal;
  };

  class AbortController {
    readonly signal: AbortSignal;
    abort(reason?: unknown): void;
  }

  interface DOMException extends Error {
    readonly code: number;
  }
  var DOMException: { new (message?: string, name?: string): DOMException };

  /** Each call is an entry in the object's log. A plain object as the last argument becomes the entry's fields. */
  interface Console {
    trace(...values: unknown[]): void;
    debug(...values: unknown[]): void;
    log(...values: unknown[]): void;
    info(...values: unknown[]): void;
    warn(...values: unknown[]): void;
    error(...values: unknown[]): void;
    dir(...values: unknown[]): void;
    table(...values: unknown[]): void;
    assert(condition: unknown, ...values: unknown[]): void;
  }
  var console: Console;

  interface Crypto {
    /** Without the other engine it refuses every call. */
    readonly subtle: SubtleCrypto;
    getRandomValues<T extends ArrayBufferView>(view: T): T;
    randomUUID(): `${string}-${string}-${string}-${string}-${string}`;
  }
  interface SubtleCrypto {}
  var crypto: Crypto;
  var performance: { readonly timeOrigin: number; now(): number };

  function atob(text: string): string;
  function btoa(text: string): string;
  function queueMicrotask(callback: () => void): void;
  function structuredClone<T>(value: T): T;
  /** Timers run while a handler waits for them. They do not outlive its turn: for later there are alarms. */
  function setTimeout<A extends unknown[]>(callback: (...args: A) => void, milliseconds?: number, ...args: A): number;
  function setInterval<A extends unknown[]>(callback: (...args: A) => void, milliseconds?: number, ...args: A): number;
  function clearTimeout(id: number | undefined): void;
  function clearInterval(id: number | undefined): void;

  interface Uint8Array<TArrayBuffer extends ArrayBufferLike> {
    toBase64(options?: { alphabet?: "base64" | "base64url"; omitPadding?: boolean }): string;
    toHex(): string;
  }
  interface Uint8ArrayConstructor {
    fromBase64(text: string, options?: { alphabet?: "base64" | "base64url" }): Uint8Array<ArrayBuffer>;
    fromHex(text: string): Uint8Array<ArrayBuffer>;
  }
}

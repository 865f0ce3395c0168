// Types of what StarlingMonkey adds to the globals of `index.d.ts`. A project that builds with it names them in its tsconfig.json:
// "types": ["holdfast/starlingmonkey"] under "compilerOptions".

/// <reference path="./index.d.ts" />

interface SubtleCrypto {
  digest(
    algorithm: "MD5" | Digest | { name: "MD5" | Digest },
    data: ArrayBuffer | ArrayBufferView,
  ): Promise<ArrayBuffer>;
  /** Raw keys for HMAC only. */
  importKey(
    format: "raw",
    key: ArrayBuffer | ArrayBufferView,
    algorithm: { name: "HMAC"; hash: Digest | { name: Digest }; length?: number },
    extractable: boolean,
    usages: ("sign" | "verify")[],
  ): Promise<CryptoKey>;
  sign(algorithm: "HMAC" | { name: "HMAC" }, key: CryptoKey, data: ArrayBuffer | ArrayBufferView): Promise<ArrayBuffer>;
  verify(
    algorithm: "HMAC" | { name: "HMAC" },
    key: CryptoKey,
    signature: ArrayBuffer | ArrayBufferView,
    data: ArrayBuffer | ArrayBufferView,
  ): Promise<boolean>;
}

type Digest = "SHA-1" | "SHA-256" | "SHA-384" | "SHA-512";

interface CryptoKey {
  readonly type: "secret";
  readonly extractable: boolean;
  readonly algorithm: object;
  readonly usages: string[];
}

type BlobPart = string | ArrayBuffer | ArrayBufferView | Blob;

interface Blob {
  readonly size: number;
  readonly type: string;
  arrayBuffer(): Promise<ArrayBuffer>;
  bytes(): Promise<Uint8Array<ArrayBuffer>>;
  slice(start?: number, end?: number, type?: string): Blob;
  stream(): ReadableStream<Uint8Array>;
  text(): Promise<string>;
}
declare var Blob: { new (parts?: Iterable<BlobPart>, options?: { type?: string }): Blob };

interface File extends Blob {
  readonly name: string;
  readonly lastModified: number;
}
declare var File: {
  new (parts: Iterable<BlobPart>, name: string, options?: { type?: string; lastModified?: number }): File;
};

type FormDataEntryValue = string | File;

declare class FormData implements Iterable<[string, FormDataEntryValue]> {
  append(name: string, value: string | Blob, filename?: string): void;
  delete(name: string): void;
  get(name: string): FormDataEntryValue | null;
  getAll(name: string): FormDataEntryValue[];
  has(name: string): boolean;
  set(name: string, value: string | Blob, filename?: string): void;
  forEach(callback: (value: FormDataEntryValue, name: string, data: FormData) => void, self?: unknown): void;
  entries(): IterableIterator<[string, FormDataEntryValue]>;
  keys(): IterableIterator<string>;
  values(): IterableIterator<FormDataEntryValue>;
  [Symbol.iterator](): IterableIterator<[string, FormDataEntryValue]>;
}

interface QueuingStrategy<T = unknown> {
  highWaterMark?: number;
  size?(chunk: T): number;
}

interface ReadableStreamDefaultController<T> {
  readonly desiredSize: number | null;
  close(): void;
  enqueue(chunk: T): void;
  error(reason?: unknown): void;
}

interface ReadableStreamDefaultReader<T> {
  readonly closed: Promise<void>;
  cancel(reason?: unknown): Promise<void>;
  read(): Promise<{ done: false; value: T } | { done: true; value?: T }>;
  releaseLock(): void;
}

/** Not iterable: read it with `getReader`. */
declare class ReadableStream<T = unknown> {
  constructor(
    source?: {
      start?(controller: ReadableStreamDefaultController<T>): void | Promise<void>;
      pull?(controller: ReadableStreamDefaultController<T>): void | Promise<void>;
      cancel?(reason: unknown): void | Promise<void>;
    },
    strategy?: QueuingStrategy<T>,
  );
  readonly locked: boolean;
  cancel(reason?: unknown): Promise<void>;
  getReader(): ReadableStreamDefaultReader<T>;
  pipeThrough<U>(pair: { readable: ReadableStream<U>; writable: WritableStream<T> }): ReadableStream<U>;
  pipeTo(destination: WritableStream<T>): Promise<void>;
  tee(): [ReadableStream<T>, ReadableStream<T>];
}

interface WritableStreamDefaultWriter<T> {
  readonly closed: Promise<void>;
  readonly desiredSize: number | null;
  readonly ready: Promise<void>;
  abort(reason?: unknown): Promise<void>;
  close(): Promise<void>;
  releaseLock(): void;
  write(chunk: T): Promise<void>;
}

declare class WritableStream<T = unknown> {
  constructor(
    sink?: {
      write?(chunk: T): void | Promise<void>;
      close?(): void | Promise<void>;
      abort?(reason: unknown): void | Promise<void>;
    },
    strategy?: QueuingStrategy<T>,
  );
  readonly locked: boolean;
  abort(reason?: unknown): Promise<void>;
  close(): Promise<void>;
  getWriter(): WritableStreamDefaultWriter<T>;
}

declare class TransformStream<I = unknown, O = unknown> {
  constructor(transformer?: {
    transform?(chunk: I, controller: ReadableStreamDefaultController<O>): void | Promise<void>;
    flush?(controller: ReadableStreamDefaultController<O>): void | Promise<void>;
  });
  readonly readable: ReadableStream<O>;
  readonly writable: WritableStream<I>;
}

declare class CompressionStream {
  constructor(format: "gzip" | "deflate" | "deflate-raw");
  readonly readable: ReadableStream<Uint8Array>;
  readonly writable: WritableStream<ArrayBuffer | ArrayBufferView>;
}

declare class DecompressionStream {
  constructor(format: "gzip" | "deflate" | "deflate-raw");
  readonly readable: ReadableStream<Uint8Array>;
  readonly writable: WritableStream<ArrayBuffer | ArrayBufferView>;
}

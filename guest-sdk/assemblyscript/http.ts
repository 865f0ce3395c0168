// Requests and responses: wit/fetch-handler.wit, and the failure of wit/types.wit.
import { decode, decodePercent, encode } from "./text";

export class Header {
  /** The value's characters are its bytes, as in ISO 8859-1. */
  constructor(readonly name: string, readonly value: string) {}
}

/** One request as the object sees it. */
export class Request {
  constructor(
    /** As sent, for example `GET`. */
    readonly method: string,
    /** Path below the object, and query; begins with `/`. */
    readonly uri: string,
    /** Names in lower case, repeated headers in their order. */
    readonly headers: Header[],
    readonly body: Uint8Array,
  ) {}

  /** The path without the query, as it was sent. */
  get path(): string {
    const end = this.uri.indexOf("?");
    return end < 0 ? this.uri : this.uri.substring(0, end);
  }

  /** The value of a parameter in the query, decoded; null if it is not there. */
  query(name: string): string | null {
    const start = this.uri.indexOf("?");
    if (start < 0) return null;
    const pairs = this.uri.substring(start + 1).split("&");
    for (let i = 0; i < pairs.length; i++) {
      const equals = pairs[i].indexOf("=");
      const end = equals < 0 ? pairs[i].length : equals;
      if (decode(decodePercent(pairs[i].substring(0, end), true)) == name) {
        return decode(decodePercent(pairs[i].substring(end + 1), true));
      }
    }
    return null;
  }

  /** The first header of this name (in lower case); null if there is none. */
  header(name: string): string | null {
    for (let i = 0; i < this.headers.length; i++) if (this.headers[i].name == name) return this.headers[i].value;
    return null;
  }

  /** The body as text. */
  text(): string {
    return decode(this.body);
  }
}

/** What a `fetch` answers. */
export class Response {
  headers: Header[] = [];

  /** A status from 200 to 599, or 101 for a socket that was accepted. */
  constructor(public status: u16 = 200, public body: Uint8Array = new Uint8Array(0)) {}

  /** A response with a text. */
  static text(body: string, status: u16 = 200): Response {
    return new Response(status, encode(body)).header("content-type", "text/plain; charset=utf-8");
  }

  /** Adds a header; the same name may be added again. The value has characters up to U+00FF, which are its bytes. */
  header(name: string, value: string): Response {
    this.headers.push(new Header(name, value));
    return this;
  }
}

/**
 * The turn fails: nothing that it wrote stays, and the instance is dropped. Callers of `fetch` get status 500, or 503 if it is retryable: the same
 * request may succeed later.
 */
export class Failure extends Response {
  constructor(
    /** For programs: 1 to 64 of `[a-z0-9-]`. */
    readonly code: string,
    /** For people, at most 8 KiB. */
    readonly message: string,
    readonly retryable: bool = false,
  ) {
    super(retryable ? 503 : 500);
  }
}

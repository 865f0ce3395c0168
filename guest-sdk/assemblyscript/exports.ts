// The handlers as the host calls them: functions of the canonical ABI, around those of the class. `transform.js` has asc compile this file, names
// the class's functions `class_…`, and exports those that the class has under the contract's names.
import { Slice, bytesAt, done, readText, storeBytes, storeText, textAt } from "./abi";
import { HEADER, lendHeaders } from "./headers";
import { Failure, Header, Request, Response } from "./http";
import { closeAll } from "./open";
import { refusals } from "./refusal";
import { Message, Socket } from "./websocket";
import "./globals";

export { cabi_realloc, cabi_realloc_adapter } from "./abi";

/** A `result<response, failure>` is the largest: 24 bytes. */
const RETURNED: usize = memory.data(24, 4);

export function fetch(
  method: usize, methodSize: usize, uri: usize, uriSize: usize, headers: usize, headerCount: usize, body: usize, bodySize: usize,
): usize {
  const request = new Request(
    textAt(method, methodSize), textAt(uri, uriSize), readHeaders(headers, headerCount), bytesAt(body, bodySize),
  );
  begin();
  // @ts-ignore: defined by the transform
  return isDefined(class_fetch) ? answer(class_fetch(request)) : 0;
}

export function init(): usize {
  begin();
  // @ts-ignore: defined by the transform
  return end(isDefined(class_init) ? class_init() : null);
}

export function alarm(scheduled: u64, retryCount: u32): usize {
  begin();
  // @ts-ignore: defined by the transform
  return end(isDefined(class_alarm) ? class_alarm(<i64>scheduled, retryCount) : null);
}

export function webSocketMessage(socket: u64, isBinary: bool, data: usize, size: usize): usize {
  const message = new Message(isBinary, bytesAt(data, size));
  begin();
  // @ts-ignore: defined by the transform
  return end(isDefined(class_webSocketMessage) ? class_webSocketMessage(new Socket(socket), message) : null);
}

export function webSocketClose(socket: u64, code: u32, reason: usize, reasonSize: usize, wasClean: bool): usize {
  const words = textAt(reason, reasonSize);
  begin();
  // @ts-ignore: defined by the transform
  return end(isDefined(class_webSocketClose) ? class_webSocketClose(new Socket(socket), <u16>code, words, wasClean) : null);
}

export function webSocketError(socket: u64, what: usize, whatSize: usize): usize {
  const words = textAt(what, whatSize);
  begin();
  // @ts-ignore: defined by the transform
  return end(isDefined(class_webSocketError) ? class_webSocketError(new Socket(socket), words) : null);
}

export function resume(tokens: usize, count: usize): usize {
  const due = new Array<u64>(<i32>count);
  for (let i = 0; i < due.length; i++) due[i] = load<u64>(tokens + <usize>i * 8);
  begin();
  // @ts-ignore: defined by the transform
  return end(isDefined(class_resume) ? class_resume(due) : null);
}

/** The host has read what a handler returned. */
export function finish(returned: usize): void {
  done();
}

/** Once what the host has passed was read. */
function begin(): void {
  done();
  refusals.take();
}

function answer(response: Response): usize {
  if (response instanceof Failure) return end(<Failure>response);
  closeAll();
  store<bool>(RETURNED, false);
  store<u16>(RETURNED, response.status, 4);
  const list = lendHeaders(response.headers);
  store<usize>(RETURNED, list.at, 8);
  store<usize>(RETURNED, list.size, 12);
  storeBytes(RETURNED + 16, response.body);
  return RETURNED;
}

function end(failure: Failure | null): usize {
  closeAll();
  store<bool>(RETURNED, failure !== null);
  if (failure) {
    storeText(RETURNED + 4, failure.code);
    storeText(RETURNED + 12, failure.message);
    store<bool>(RETURNED, failure.retryable, 20);
  }
  return RETURNED;
}

function readHeaders(at: usize, count: usize): Header[] {
  const headers = new Array<Header>(<i32>count);
  for (let i = 0; i < headers.length; i++) {
    const from = at + <usize>i * HEADER;
    const value = changetype<Slice>(from + 8);
    headers[i] = new Header(readText(from), latin1(value.at, value.size));
  }
  return headers;
}

/** Each byte is a character. */
function latin1(at: usize, size: usize): string {
  const text = changetype<string>(__new(size << 1, idof<string>()));
  for (let i: usize = 0; i < size; i++) store<u16>(changetype<usize>(text) + (i << 1), load<u8>(at + i));
  return text;
}

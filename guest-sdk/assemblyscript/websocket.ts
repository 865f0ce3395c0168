// WebSockets: wit/websockets.wit.
import { RESULT, Slice, done, lendOptional, lendText, lendTexts, readBytes, readText, readTexts } from "./abi";
import { Refusal, refuse } from "./refusal";
import { decode, encode } from "./text";

@external("holdfast:object/websockets@0.2.0", "accept")
declare function hostAccept(tags: usize, count: usize, result: usize): void;
@external("holdfast:object/websockets@0.2.0", "sockets")
declare function hostSockets(hasTag: bool, tag: usize, tagSize: usize, result: usize): void;
@external("holdfast:object/websockets@0.2.0", "tags")
declare function hostTags(socket: u64, result: usize): void;
@external("holdfast:object/websockets@0.2.0", "attachment")
declare function hostAttachment(socket: u64, result: usize): void;
@external("holdfast:object/websockets@0.2.0", "set-attachment")
declare function hostSetAttachment(socket: u64, has: bool, bytes: usize, size: usize, result: usize): void;
@external("holdfast:object/websockets@0.2.0", "send")
declare function hostSend(socket: u64, isBinary: bool, data: usize, size: usize, result: usize): void;
@external("holdfast:object/websockets@0.2.0", "broadcast")
declare function hostBroadcast(hasTag: bool, tag: usize, tagSize: usize, isBinary: bool, data: usize, size: usize, result: usize): void;
@external("holdfast:object/websockets@0.2.0", "buffered")
declare function hostBuffered(socket: u64, result: usize): void;
@external("holdfast:object/websockets@0.2.0", "close")
declare function hostClose(socket: u64, hasCode: bool, code: u32, reason: usize, reasonSize: usize, result: usize): void;
@external("holdfast:object/websockets@0.2.0", "set-auto-response")
declare function hostSetAutoResponse(
  has: bool, request: usize, requestSize: usize, response: usize, responseSize: usize, result: usize,
): void;
@external("holdfast:object/websockets@0.2.0", "auto-response-time")
declare function hostAutoResponseTime(socket: u64, result: usize): void;

/** Whether the last call was refused; if so, it is over. */
function isRefused(): bool {
  if (!load<u8>(RESULT)) return false;
  const payload = RESULT + 16;
  let refusal: Refusal;
  switch (load<u8>(RESULT, 8)) {
    case 0: refusal = new Refusal("not-an-upgrade", ""); break;
    case 1: refusal = new Refusal("already-accepted", ""); break;
    case 2: refusal = new Refusal("too-many-sockets", `the object has ${load<u32>(payload)}`); break;
    case 3: refusal = new Refusal("bad-tag", readText(payload)); break;
    case 4: refusal = new Refusal("unknown-socket", ""); break;
    case 5: refusal = new Refusal("closing", ""); break;
    case 6: refusal = new Refusal("too-large", `${load<u64>(payload)} bytes are more than ${load<u64>(payload, 8)}`); break;
    case 7: refusal = new Refusal("too-much", `one turn sends at most ${load<u64>(payload)} bytes`); break;
    case 8: refusal = new Refusal("bad-code", `${load<u16>(payload)} is no code to close with`); break;
    default: refusal = new Refusal("other", readText(payload));
  }
  done();
  refuse(refusal);
  return true;
}

/** One message: `Message.text("…")` or `Message.binary(bytes)`. */
export class Message {
  constructor(
    readonly isBinary: bool,
    /** UTF-8 if it is not binary. */
    readonly data: Uint8Array,
  ) {}

  static text(text: string): Message {
    return new Message(false, encode(text));
  }

  static binary(data: Uint8Array): Message {
    return new Message(true, data);
  }

  /** The data as text. */
  text(): string {
    return decode(this.data);
  }
}

/** One WebSocket of this object. */
export class Socket {
  constructor(readonly id: u64) {}

  /** The tags that it was accepted with, sorted. */
  tags(): string[] {
    hostTags(this.id, RESULT);
    if (isRefused()) return [];
    const tags = readTexts(RESULT + 8);
    done();
    return tags;
  }

  /** What the object attached to it; null if nothing. */
  attachment(): Uint8Array | null {
    hostAttachment(this.id, RESULT);
    if (isRefused()) return null;
    const attached = load<bool>(RESULT, 8) ? readBytes(RESULT + 12) : null;
    done();
    return attached;
  }

  /** Attaches up to 16,384 bytes, which stay with the socket; null removes them. */
  attach(data: Uint8Array | null): void {
    const bytes = data ? data : new Uint8Array(0);
    hostSetAttachment(this.id, data !== null, bytes.dataStart, bytes.length, RESULT);
    if (!isRefused()) done();
  }

  /** Sends a message of at most 32 MiB, once everything that the turn wrote is durable. */
  send(message: Message): void {
    hostSend(this.id, message.isBinary, message.data.dataStart, message.data.length, RESULT);
    if (!isRefused()) done();
  }

  sendText(text: string): void {
    this.send(Message.text(text));
  }

  /** Bytes that wait for the peer to take them. */
  buffered(): u64 {
    hostBuffered(this.id, RESULT);
    if (isRefused()) return 0;
    done();
    return load<u64>(RESULT, 8);
  }

  /** Closes it after what was sent: with a code that applications may use, or none (0), and a reason of at most 123 bytes. */
  close(code: u16 = 0, reason: string = ""): void {
    const words = lendText(reason);
    hostClose(this.id, code != 0, code, words.at, words.size, RESULT);
    if (!isRefused()) done();
  }

  /** When the host last answered on it, in milliseconds since 1970; 0 if never. */
  autoResponseTime(): i64 {
    hostAutoResponseTime(this.id, RESULT);
    if (isRefused()) return 0;
    done();
    return load<bool>(RESULT, 8) ? load<i64>(RESULT, 16) : 0;
  }
}

/** The object's WebSockets. */
export namespace sockets {
  /** Accepts the socket that this request asks for, with up to 10 tags; answer with status 101. */
  export function accept(tags: string[] = []): Socket {
    const list = lendTexts(tags);
    hostAccept(list.at, list.size, RESULT);
    if (isRefused()) return new Socket(0);
    done();
    return new Socket(load<u64>(RESULT, 8));
  }

  /** The open ones with this tag, or all: oldest first. */
  export function open(tag: string | null = null): Socket[] {
    const name = lendOptional(tag);
    hostSockets(tag !== null, name.at, name.size, RESULT);
    const slice = changetype<Slice>(RESULT);
    const found = new Array<Socket>(<i32>slice.size);
    for (let i = 0; i < found.length; i++) found[i] = new Socket(load<u64>(slice.at + <usize>i * 8));
    done();
    return found;
  }

  /** Sends to all with this tag, or to all. Answers how many there are. */
  export function broadcast(message: Message, tag: string | null = null): u32 {
    const name = lendOptional(tag);
    hostBroadcast(tag !== null, name.at, name.size, message.isBinary, message.data.dataStart, message.data.length, RESULT);
    if (isRefused()) return 0;
    done();
    return load<u32>(RESULT, 8);
  }

  /** Has the host answer one text for the object, on all sockets. */
  export function setAutoResponse(request: string, response: string): void {
    const asked = lendText(request), answered = lendText(response);
    hostSetAutoResponse(true, asked.at, asked.size, answered.at, answered.size, RESULT);
    if (!isRefused()) done();
  }

  /** Ends that. */
  export function removeAutoResponse(): void {
    hostSetAutoResponse(false, 0, 0, 0, 0, RESULT);
    if (!isRefused()) done();
  }
}

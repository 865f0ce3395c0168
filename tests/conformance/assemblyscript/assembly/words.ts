// The words of scripts and answers.
import { Message, Type, Value, decode, decodePercent, encode, sql } from "holdfast";

/** The words of a line that have not been read. */
export class Words {
  private at: i32 = 0;

  constructor(private words: string[]) {}

  get more(): bool {
    return this.at < this.words.length;
  }

  /** The next word as it stands; an empty one behind the last. */
  next(): string {
    return this.more ? this.words[this.at++] : "";
  }

  /** All words that are left, as a line. */
  rest(): string {
    const rest = this.words.slice(this.at).join(" ");
    this.at = this.words.length;
    return rest;
  }

  bytes(): Uint8Array {
    return decodePercent(this.next());
  }

  text(): string {
    return decode(this.bytes());
  }

  integer(): i64 {
    return I64.parseInt(this.text());
  }

  texts(): string[] {
    const texts: string[] = [];
    while (this.more) texts.push(this.text());
    return texts;
  }

  value(): Value {
    const word = this.next(), content = word.substring(2);
    if (word.startsWith("i:")) return sql.integer(I64.parseInt(content));
    if (word.startsWith("r:")) return sql.real(reinterpret<f64>(U64.parseInt(content, 16)));
    if (word.startsWith("t:")) return sql.text(decode(decodePercent(content)));
    return word.startsWith("b:") ? sql.blob(decodePercent(content)) : sql.NULL;
  }

  message(): Message {
    const word = this.next(), data = decodePercent(word.substring(2));
    return word.startsWith("b:") ? Message.binary(data) : Message.text(decode(data));
  }
}

const DIGITS = "0123456789ABCDEF";

export function encoded(bytes: Uint8Array): string {
  const word = new Uint8Array(3 * bytes.length);
  let size = 0;
  for (let i = 0; i < bytes.length; i++) {
    const byte = bytes[i];
    if (isPlain(byte)) {
      word[size++] = byte;
    } else {
      word[size++] = 37;
      word[size++] = <u8>DIGITS.charCodeAt(byte >> 4);
      word[size++] = <u8>DIGITS.charCodeAt(byte & 15);
    }
  }
  return decode(word.subarray(0, size));
}

function isPlain(byte: u8): bool {
  const letter = byte | 0x20;
  // `-`, `.`, `_`, `~`
  return byte >= 48 && byte <= 57 || letter >= 97 && letter <= 122 || byte == 45 || byte == 46 || byte == 95 || byte == 126;
}

export function encodedText(text: string): string {
  return encoded(encode(text));
}

export function option(value: Uint8Array | null): string {
  return value ? `some ${encoded(value)}` : "none";
}

export function shown(value: Value): string {
  switch (value.type) {
    case Type.Integer: return `i:${value.integer}`;
    case Type.Real: return `r:${reinterpret<u64>(value.real).toString(16).padStart(16, "0")}`;
    case Type.Text: return `t:${encodedText(value.text)}`;
    case Type.Blob: return `b:${encoded(value.blob)}`;
    default: return "n";
  }
}

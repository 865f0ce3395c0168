// SQL: wit/packed-sql.wit, in which rows come as one piece, and the values and errors of wit/sql.wit.
import { RESULT, done, lendList, lendText, readBytes, readText, storeBytes } from "./abi";
import { Open } from "./open";
import { Refusal, refuse } from "./refusal";
import { decode, encode } from "./text";

@external("holdfast:object/packed-sql@0.2.0", "exec")
declare function hostExec(text: usize, textSize: usize, parameters: usize, count: usize, result: usize): void;
@external("holdfast:object/packed-sql@0.2.0", "next")
declare function hostNext(cursor: i32, max: u32, result: usize): void;
@external("holdfast:object/sql@0.2.0", "[resource-drop]cursor")
declare function hostDrop(cursor: i32): void;

/** A `value` of the contract: its case, and 8 bytes. */
const VALUE: usize = 16;

/** Whether the last call was refused, with an error at this offset; if so, it is over. */
function isRefused(at: usize): bool {
  if (!load<u8>(RESULT)) return false;
  const payload = RESULT + at + 4;
  let refusal: Refusal;
  switch (load<u8>(RESULT + at)) {
    case 0: refusal = new Refusal("no-statement", ""); break;
    case 1: refusal = new Refusal("not-authorized", readText(payload)); break;
    case 2: refusal = new Refusal("parameter-count", `the statement takes ${load<u32>(payload)}, not ${load<u32>(payload, 4)}`); break;
    case 3: refusal = new Refusal("too-large", readText(payload)); break;
    case 4: refusal = new Refusal("constraint", readText(payload + 4), load<i32>(payload)); break;
    case 5: refusal = new Refusal("full", ""); break;
    case 6: refusal = new Refusal("closed", ""); break;
    case 7: refusal = new Refusal("sqlite", readText(payload + 4), load<i32>(payload)); break;
    default: refusal = new Refusal("other", readText(payload));
  }
  done();
  refuse(refusal);
  return true;
}

/** The types of values, as SQLite has them. */
export enum Type { Null, Integer, Real, Text, Blob }

/** A value as SQLite stores it: a parameter (`sql.integer(1)`, …) or one of a row. */
export class Value {
  /** `bits` is an integer, or those of a real; `bytes` a text's UTF-8, or a blob. Not for classes: `sql` makes values. */
  constructor(readonly type: Type, private bits: i64, private bytes: Uint8Array | null) {}

  get isNull(): bool {
    return this.type == Type.Null;
  }

  get integer(): i64 {
    this.expect(Type.Integer);
    return this.bits;
  }

  get real(): f64 {
    this.expect(Type.Real);
    return reinterpret<f64>(this.bits);
  }

  get text(): string {
    this.expect(Type.Text);
    return decode(this.bytes!);
  }

  get blob(): Uint8Array {
    this.expect(Type.Blob);
    return this.bytes!.slice();
  }

  private expect(type: Type): void {
    if (this.type != type) throw new TypeError(`the value is ${NAMES[this.type]}, not ${NAMES[type]}`);
  }

  /** Has it at this address, as the canonical ABI wants it. Not for classes. */
  store(to: usize): void {
    store<u8>(to, <u8>this.type);
    const bytes = this.bytes;
    if (bytes) storeBytes(to + 8, bytes);
    else store<i64>(to, this.bits, 8);
  }
}

const NAMES: StaticArray<string> = ["null", "an integer", "a real", "a text", "a blob"];

/** The rows of a statement, read one after the other: `for (let row = rows.next(); row; row = rows.next()) …`. They end with the turn. */
export class Rows extends Open {
  /** The names of the columns; none for a statement without rows. */
  readonly columns: string[] = [];
  private at: i32 = 0;

  /** Not for classes: `sql.exec` makes them. */
  constructor(
    /** Rows inserted, updated or deleted by the statements so far. */
    readonly changes: u64,
    /** The rowid of the object's last insert. */
    readonly lastInsertRowid: i64,
    private batch: Uint8Array,
    cursor: i32,
  ) {
    super(cursor);
    const count = batch.length ? this.u32() : 0;
    for (let i: u32 = 0; i < count; i++) this.columns.push(this.value().text);
  }

  /** The next row, its values in the order of the columns; null at the end. */
  next(): Value[] | null {
    if (this.at == this.batch.length && !this.fetch()) return null;
    const row = new Array<Value>(this.columns.length);
    for (let i = 0; i < row.length; i++) row[i] = this.value();
    return row;
  }

  close(): void {
    super.close();
    this.batch = new Uint8Array(0);
    this.at = 0;
  }

  protected drop(handle: i32): void {
    hostDrop(handle);
  }

  /** Whether there is another batch. */
  private fetch(): bool {
    if (!this.handle) return false;
    hostNext(this.handle, 1024, RESULT);
    const refused = isRefused(4);
    this.batch = refused ? new Uint8Array(0) : readBytes(RESULT + 4);
    this.at = 0;
    done();
    if (!this.batch.length) this.close();
    return this.batch.length > 0;
  }

  private value(): Value {
    const type = <Type>load<u8>(this.take(1));
    if (type == Type.Null) return new Value(type, 0, null);
    if (type < Type.Text) return new Value(type, load<i64>(this.take(8)), null);
    const size = this.u32(), start = this.at;
    this.take(size);
    return new Value(type, 0, this.batch.subarray(start, this.at));
  }

  private u32(): u32 {
    return load<u32>(this.take(4));
  }

  /** The address of the next bytes, which are read with it. */
  private take(size: u32): usize {
    const from = this.batch.dataStart + this.at;
    this.at += size;
    return from;
  }
}

/** The object's own SQLite database. The turn is the transaction. */
export namespace sql {
  // @ts-ignore: decorator
  @lazy export const NULL: Value = new Value(Type.Null, 0, null);

  export function integer(value: i64): Value {
    return new Value(Type.Integer, value, null);
  }

  /** NaN is stored as NULL. */
  export function real(value: f64): Value {
    return new Value(Type.Real, reinterpret<i64>(value), null);
  }

  export function text(value: string): Value {
    return new Value(Type.Text, 0, encode(value));
  }

  export function blob(value: Uint8Array): Value {
    return new Value(Type.Blob, 0, value);
  }

  /**
   * Runs one or more statements; parameters and rows are the last one's.
   *
   *     const rows = sql.exec("SELECT id, who FROM visit WHERE who = ?", [sql.text("ann")]);
   *     for (let row = rows.next(); row; row = rows.next()) console.log(`${row[0].integer} ${row[1].text}`);
   */
  export function exec(text: string, parameters: Value[] = []): Rows {
    const statement = lendText(text);
    const list = lendList(parameters.length, VALUE);
    for (let i = 0; i < parameters.length; i++) parameters[i].store(list.at + <usize>i * VALUE);
    hostExec(statement.at, statement.size, list.at, list.size, RESULT);
    if (isRefused(8)) return new Rows(0, 0, new Uint8Array(0), 0);
    const batch = load<bool>(RESULT, 24) ? readBytes(RESULT + 28) : new Uint8Array(0);
    const cursor = load<bool>(RESULT, 36) ? load<i32>(RESULT, 40) : 0;
    done();
    return new Rows(load<u64>(RESULT, 8), load<i64>(RESULT, 16), batch, cursor);
  }
}

// The object's log: wit/logging.wit. `console` writes to it, too.
import { done, lendList, lendText, storeText } from "./abi";

@external("holdfast:object/logging@0.2.0", "log")
declare function hostLog(level: i32, message: usize, messageSize: usize, fields: usize, fieldCount: usize): void;

export enum Level { Trace, Debug, Info, Warn, Error }

export class Field {
  constructor(readonly name: string, readonly value: string) {}
}

/** Adds an entry to the log; it is kept when the turn fails. Message and fields together are cut at 16 KiB. */
export function log(level: Level, message: string, fields: Field[] = []): void {
  const text = lendText(message);
  const list = lendList(fields.length, 16);
  for (let i = 0; i < fields.length; i++) {
    const to = list.at + <usize>i * 16;
    storeText(to, fields[i].name);
    storeText(to + 8, fields[i].value);
  }
  hostLog(level, text.at, text.size, list.at, list.size);
  done();
}

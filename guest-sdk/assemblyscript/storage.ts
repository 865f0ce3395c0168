// The storage as a whole, and the alarm: wit/storage.wit and wit/alarms.wit.
import { RESULT, done, readText } from "./abi";
import { Refusal, refuse } from "./refusal";

@external("holdfast:object/storage@0.2.0", "open-savepoint")
declare function hostOpenSavepoint(result: usize): void;
@external("holdfast:object/storage@0.2.0", "[method]savepoint.keep")
declare function hostKeep(savepoint: i32, result: usize): void;
@external("holdfast:object/storage@0.2.0", "[method]savepoint.undo")
declare function hostUndo(savepoint: i32, result: usize): void;
@external("holdfast:object/storage@0.2.0", "[resource-drop]savepoint")
declare function hostDrop(savepoint: i32): void;
@external("holdfast:object/storage@0.2.0", "size")
declare function hostSize(result: usize): void;
@external("holdfast:object/storage@0.2.0", "delete-all")
declare function hostDeleteAll(result: usize): void;
@external("holdfast:object/storage@0.2.0", "sync")
declare function hostSync(result: usize): void;
@external("holdfast:object/alarms@0.2.0", "get")
declare function hostAlarm(result: usize): void;
@external("holdfast:object/alarms@0.2.0", "set")
declare function hostSetAlarm(time: i64, result: usize): void;
@external("holdfast:object/alarms@0.2.0", "delete")
declare function hostDeleteAlarm(result: usize): void;

/** Whether the last call was refused, with an error at this offset; if so, it is over. */
function isRefused(at: usize = 4): bool {
  if (!load<u8>(RESULT)) return false;
  const payload = RESULT + at + 4;
  let refusal: Refusal;
  switch (load<u8>(RESULT + at)) {
    case 0: refusal = new Refusal("savepoint-open", ""); break;
    case 1: refusal = new Refusal("too-deep", `${load<u32>(payload)} savepoints are open`); break;
    case 2: refusal = new Refusal("closed", ""); break;
    case 3: refusal = new Refusal("full", ""); break;
    default: refusal = new Refusal("other", readText(payload));
  }
  done();
  refuse(refusal);
  return true;
}

/** A point that the storage can go back to. They nest; each is ended before the handler returns. */
export class Savepoint {
  constructor(private handle: i32) {}

  /** Keeps what was written since. */
  keep(): void {
    this.end(true);
  }

  /** Undoes what was written since: keys, SQL, the alarm. */
  undo(): void {
    this.end(false);
  }

  private end(keep: bool): void {
    const handle = this.handle;
    if (!handle) return refuse(new Refusal("closed", "the savepoint has ended, or never began"));
    this.handle = 0;
    if (keep) hostKeep(handle, RESULT);
    else hostUndo(handle, RESULT);
    hostDrop(handle);
    if (!isRefused()) done();
  }
}

/** What keys and SQL share. */
export namespace storage {
  export function savepoint(): Savepoint {
    hostOpenSavepoint(RESULT);
    if (isRefused()) return new Savepoint(0);
    done();
    return new Savepoint(load<i32>(RESULT, 4));
  }

  /** Bytes that the storage takes. */
  export function size(): u64 {
    hostSize(RESULT);
    if (isRefused(8)) return 0;
    done();
    return load<u64>(RESULT, 8);
  }

  /** Removes everything that is stored. */
  export function deleteAll(): void {
    hostDeleteAll(RESULT);
    if (!isRefused()) done();
  }

  /** Makes what the turn has written so far durable and goes on: it stays even if the turn fails later. */
  export function sync(): void {
    hostSync(RESULT);
    if (!isRefused()) done();
  }
}

function isAlarmRefused(at: usize): bool {
  if (!load<u8>(RESULT)) return false;
  let refusal: Refusal;
  switch (load<u8>(RESULT + at)) {
    case 0: refusal = new Refusal("bad-time", ""); break;
    case 1: refusal = new Refusal("no-handler", ""); break;
    default: refusal = new Refusal("other", readText(RESULT + at + 4));
  }
  done();
  refuse(refusal);
  return true;
}

/** The object's one alarm. Times are milliseconds since 1970. */
export namespace alarms {
  /** When it is set to; 0 if there is none. */
  export function get(): i64 {
    hostAlarm(RESULT);
    if (isAlarmRefused(8)) return 0;
    done();
    return load<bool>(RESULT, 8) ? load<i64>(RESULT, 16) : 0;
  }

  /** Sets it, in place of any there is. A time that has passed comes at once, after this turn. */
  export function set(time: i64): void {
    hostSetAlarm(time, RESULT);
    if (!isAlarmRefused(4)) done();
  }

  export function remove(): void {
    hostDeleteAlarm(RESULT);
    if (!isAlarmRefused(4)) done();
  }
}

// Which object this is: wit/identity.wit.
import { RESULT, done, readText } from "./abi";

@external("holdfast:object/identity@0.2.0", "id")
declare function hostId(result: usize): void;
@external("holdfast:object/identity@0.2.0", "name")
declare function hostName(result: usize): void;
@external("holdfast:object/identity@0.2.0", "class")
declare function hostClass(result: usize): void;

function answered(at: usize): string {
  const text = readText(at);
  done();
  return text;
}

/** Who this object is. */
export namespace object {
  /** 64 lowercase hex digits, which never change. */
  export function id(): string {
    hostId(RESULT);
    return answered(RESULT);
  }

  /** The name that the object was reached by; null for one with a unique id. */
  export function name(): string | null {
    hostName(RESULT);
    return load<bool>(RESULT) ? answered(RESULT + 4) : null;
  }

  /** The name of its class. */
  export function className(): string {
    hostClass(RESULT);
    return answered(RESULT);
  }
}

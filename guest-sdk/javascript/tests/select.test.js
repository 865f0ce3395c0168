// Which class of a module is the object's, and which handlers it has.

import assert from "node:assert/strict";
import test from "node:test";

import { DurableObject, WorkerEntrypoint } from "../src/index.js";
import { classOf, handlersOf } from "../src/select.js";

class Room extends DurableObject {
  fetch() {}
  alarm() {}
}

test("a worker beside the class is not the object's", () => {
  class Worker extends WorkerEntrypoint {
    fetch() {}
  }
  assert.equal(classOf({ Room, default: Worker }), Room);
  assert.equal(classOf({ Room, default: { fetch() {} } }), Room);
  assert.equal(classOf({ Room, WorkerEntrypoint, DurableObject }), Room);
  assert.throws(() => classOf({ default: Worker }), /exports no class/);
  assert.throws(() => classOf({ Room, Other: class extends Room {} }), /several classes \(Room, Other\)/);
});

test("handlers are methods, or fields that are functions", () => {
  assert.deepEqual(handlersOf(Room), ["fetch", "alarm"]);
  class Fields extends Room {
    webSocketMessage = async () => {};
  }
  class Assigned extends DurableObject {
    constructor() {
      super();
      this.webSocketClose = () => {};
    }
    fetch() {
      return this.alarm === undefined;
    }
  }
  assert.deepEqual(handlersOf(Fields), ["fetch", "alarm", "webSocketMessage"]);
  assert.deepEqual(handlersOf(class extends Fields {}), ["fetch", "alarm", "webSocketMessage"]);
  assert.deepEqual(handlersOf(Assigned), ["fetch", "webSocketClose"]);
});

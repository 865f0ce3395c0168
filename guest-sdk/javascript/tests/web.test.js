import assert from "node:assert/strict";
import test from "node:test";

import { fromText, toText, toTextLossy } from "../src/bytes.js";
import { drain } from "../src/jobs.js";
import * as events from "../src/web/events.js";
import { Headers as OwnHeaders } from "../src/web/headers.js";
import { Arrival, Request as OwnRequest, Response as OwnResponse } from "../src/web/message.js";
import { TextDecoder as OwnDecoder, TextEncoder as OwnEncoder } from "../src/web/text.js";

const outcome = (call) => {
  try {
    return call();
  } catch (error) {
    return error.name;
  }
};

test("text becomes the bytes that Node.js makes of it, and back", () => {
  for (const text of ["", "a", "aü€🦀\0", "\ud800", "a\udc00b\ud83e", "x".repeat(100), `${"ü".repeat(50)}\udfff`]) {
    assert.deepEqual(fromText(text), new TextEncoder().encode(text), JSON.stringify(text));
    assert.equal(
      toText(fromText(text)),
      text.toWellFormed?.() ?? new TextDecoder().decode(new TextEncoder().encode(text)),
    );
  }
});

test("bytes that are not UTF-8 are replaced as by Node.js", () => {
  const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  const bytes = [
    0x41, 0x80, 0xbf, 0xc0, 0xc2, 0xc3, 0xe0, 0xa0, 0x9f, 0xe2, 0x82, 0xed, 0xee, 0xf0, 0x90, 0xf4, 0x8f, 0xf5, 0xff,
  ];
  for (const a of bytes) {
    for (const b of bytes) {
      for (const c of bytes) {
        const sequence = Uint8Array.of(a, b, c, 0x80, 0x42);
        assert.equal(toTextLossy(sequence), decoder.decode(sequence), sequence.join());
      }
    }
  }
});

test("text is decoded in pieces as by Node.js", () => {
  const whole = new TextEncoder().encode("\ufeffaü€🦀");
  for (const kind of [OwnDecoder, TextDecoder]) {
    const decoder = new kind();
    let text = "";
    for (const byte of whole) text += decoder.decode(Uint8Array.of(byte), { stream: true });
    assert.equal(text + decoder.decode(), "aü€🦀");
  }
  assert.throws(() => new OwnDecoder("utf-8", { fatal: true }).decode(Uint8Array.of(0xff)), TypeError);
  assert.throws(() => new OwnDecoder("latin1"), RangeError);
  assert.equal(new OwnDecoder("utf-8", { ignoreBOM: true }).decode(whole).length, 6);
  const target = new Uint8Array(4);
  assert.deepEqual(new OwnEncoder().encodeInto("aü€", target), new TextEncoder().encodeInto("aü€", new Uint8Array(4)));
});

test("headers work as in Node.js", () => {
  const inits = [
    undefined,
    {},
    { A: "1", b: " 2 " },
    [
      ["a", "1"],
      ["A", "2"],
      ["set-cookie", "x"],
      ["Set-Cookie", "y"],
    ],
    new Map([["k", "v"]]),
    [["a"]],
    { "bad name": "x" },
    { a: "x\ny" },
    { a: "ü" },
    { a: "€" },
  ];
  for (const init of inits) {
    const shown = (kind) =>
      outcome(() => {
        const headers = new kind(init);
        headers.append("x-more", "1");
        headers.append("X-More", "2");
        headers.set("x-set", "3");
        headers.delete("B");
        return [[...headers], headers.get("x-more"), headers.get("none"), headers.has("A"), headers.getSetCookie()];
      });
    assert.deepEqual(shown(OwnHeaders), shown(Headers), JSON.stringify(init));
  }
});

/** Runs what awaits the SDK's promises to its end. */
function settled(promise) {
  let result;
  promise.then(
    (value) => (result = { value }),
    (error) => (result = { error }),
  );
  return new Promise((resolve) => setImmediate(() => resolve((drain(), result))));
}

test("requests and responses have the parts that they are made of", async () => {
  const request = new OwnRequest("http://h/x", { method: "put", body: "ü", headers: { a: "1" } });
  assert.deepEqual(
    [request.method, request.url, request.headers.get("content-type")],
    ["PUT", "http://h/x", "text/plain;charset=UTF-8"],
  );
  const copy = new OwnRequest(request.clone(), { headers: { b: "2" } });
  assert.deepEqual(await settled(request.text()), { value: "ü" });
  assert.equal((await settled(request.text())).error.name, "TypeError");
  assert.deepEqual(await settled(copy.bytes()), { value: fromText("ü") });
  assert.equal(copy.headers.get("a"), null);

  const response = OwnResponse.json({ a: [1] }, { status: 201, headers: { "x-a": "1" } });
  assert.deepEqual(
    [response.status, response.ok, response.headers.get("content-type"), response.headers.get("x-a")],
    [201, true, "application/json", "1"],
  );
  assert.deepEqual(await settled(response.json()), { value: { a: [1] } });
  assert.equal(OwnResponse.redirect("http://h/y").headers.get("location"), "http://h/y");
  assert.deepEqual(await settled(new OwnResponse(Uint8Array.of(1, 2).buffer).arrayBuffer()), {
    value: Uint8Array.of(1, 2).buffer,
  });

  assert.throws(() => new OwnRequest("http://h/", { body: "x" }), TypeError);
  assert.throws(() => new OwnResponse("x", { status: 204 }), TypeError);
  assert.throws(() => new OwnResponse(null, { status: 101 }), RangeError);
  assert.throws(() => new OwnResponse(null, { status: 600 }), RangeError);
  assert.equal(new OwnResponse().body, null);
});

test("a body is the body of another message, or is read like a stream", async () => {
  const first = new OwnResponse("x", { status: 201, headers: { q: "1" } });
  const second = new OwnResponse(first.body, first);
  second.headers.set("w", "2");
  assert.deepEqual(
    [second.status, second.headers.get("q"), second.headers.get("w"), first.bodyUsed],
    [201, "1", "2", true],
  );
  assert.deepEqual(await settled(second.text()), { value: "x" });
  assert.throws(() => new OwnResponse(first.body), TypeError);

  const read = new OwnResponse("abc").body.getReader();
  assert.deepEqual((await settled(read.read())).value, { done: false, value: fromText("abc") });
  assert.deepEqual((await settled(read.read())).value, { done: true, value: undefined });
  const locked = new OwnResponse("abc");
  locked.body.getReader();
  assert.throws(() => locked.body.getReader(), TypeError);
  assert.throws(() => new OwnResponse(locked.body), TypeError);
  assert.equal(locked.body.locked, true);
});

test("a request of the host is not looked at before it is used", async () => {
  let asked = 0;
  const headers = () => {
    asked += 1;
    return new OwnHeaders({ a: "1" });
  };
  const request = new OwnRequest(new Arrival("POST", "http://h/raw'", headers, fromText("body")));
  assert.deepEqual([request.method, request.url, asked], ["POST", "http://h/raw'", 0]);
  assert.equal(request.headers.get("a"), "1");
  assert.equal(request.headers, request.headers);
  assert.equal(asked, 1);
  assert.deepEqual(await settled(request.text()), { value: "body" });
});

test("events reach their listeners as in Node.js", () => {
  const script = ({ AbortController, AbortSignal, Event, EventTarget }) => {
    const log = [];
    const target = new EventTarget();
    const again = () => log.push("again");
    target.addEventListener("x", again);
    target.addEventListener("x", again);
    target.addEventListener("x", () => log.push("once"), { once: true });
    target.addEventListener("x", { handleEvent: (event) => log.push(event.type, event.target === target) });
    target.dispatchEvent(new Event("x"));
    target.removeEventListener("x", again);
    target.addEventListener("x", (event) => event.preventDefault());
    log.push(target.dispatchEvent(new Event("x", { cancelable: true })));
    const controller = new AbortController();
    const any = AbortSignal.any([controller.signal]);
    any.addEventListener("abort", () => log.push("any"));
    controller.abort("why");
    controller.abort("again");
    log.push(any.aborted, any.reason, AbortSignal.abort().reason.name);
    return log;
  };
  assert.deepEqual(script(events), script(globalThis));
});

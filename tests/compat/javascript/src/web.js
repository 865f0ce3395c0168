// The web's classes, as far as both hosts have them.

import { DurableObject } from "cloudflare:workers";

import { outcome, show } from "./show.js";

export class Web extends DurableObject {
  async fetch(request) {
    const { pathname } = new URL(request.url);
    if (pathname === "/echo") {
      const headers = new Headers([
        ["x-method", request.method],
        ["x-custom", request.headers.get("x-custom") ?? "none"],
      ]);
      headers.append("set-cookie", "a=1");
      headers.append("set-cookie", "b=2");
      return new Response(await request.arrayBuffer(), { status: 201, headers });
    }
    if (pathname === "/redirect") return Response.redirect("https://example.com/elsewhere?x=1", 307);
    if (pathname === "/empty") return new Response(null, { status: 204 });
    if (pathname === "/json") return Response.json({ got: await request.json() }, { status: 202 });
    if (pathname === "/form") return Response.json([...new URLSearchParams(await request.text())]);
    if (pathname === "/globals") return Response.json(await globals());
    return new Response("not found", { status: 404 });
  }
}

async function globals() {
  const order = [];
  setTimeout(() => order.push("timer 2"), 2);
  setTimeout(() => order.push("timer 1"), 0);
  queueMicrotask(() => order.push("microtask"));
  Promise.resolve().then(() => order.push("then"));
  await new Promise((resolve) => setTimeout(resolve, 20));
  const controller = new AbortController();
  controller.signal.addEventListener("abort", () => order.push("abort"));
  controller.abort();
  const decoder = new TextDecoder();
  async function* numbers() {
    yield 1;
    yield Promise.resolve(2);
  }
  const collected = [];
  for await (const number of numbers()) collected.push(number);
  return {
    order,
    collected,
    aborted: [controller.signal.aborted, controller.signal.reason.name],
    encoded: show(new TextEncoder().encode("aü€🦀\ud800")),
    decoded: [
      decoder.decode(new Uint8Array([0xff, 65, 0xe2, 0x82, 0xac, 0xf0, 0x9f])),
      decoder.decode(new Uint8Array([0xef, 0xbb, 0xbf, 66])),
    ],
    base64: [btoa("hello"), atob("aGVsbG8=")],
    cloned: show(
      structuredClone({ map: new Map([[1, new Set(["x"])]]), date: new Date(5), bytes: new Uint8Array([1, 2]) }),
    ),
    uuid: /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/.test(crypto.randomUUID()),
    random: new Set(crypto.getRandomValues(new Uint32Array(8))).size,
    url: [new URL("../a b?q=ü#f", "https://u:p@example.com:443/x/y/z").href, URL.canParse("nope")],
    params: new URLSearchParams({ a: "1 2", b: "ü&" }).toString(),
    request: show([...new Request("https://example.com/", { method: "post", body: "x", headers: { A: "1" } }).headers]),
    response: [
      await new Response("körper").text(),
      new Response("x").headers.get("content-type"),
      new Response(new URLSearchParams("a=1")).headers.get("content-type"),
    ],
    twice: await outcome(async () => {
      const response = new Response("x");
      await response.text();
      return response.text();
    }).then(({ thrown }) => thrown.startsWith("Body has already been used.")),
    clone: await (async () => {
      const response = new Response("same");
      const copy = response.clone();
      return [await response.text(), await copy.text(), response.bodyUsed];
    })(),
    errors: [
      await outcome(() => new Response("x", { status: 204 })),
      await outcome(() => new Response("x", { status: 99 })),
      await outcome(() => new Request("https://example.com/", { body: "x" })),
      await Promise.any([Promise.reject(new Error("a"))]).catch(({ name, errors }) => [name, errors.length]),
      await outcome(() => structuredClone(() => {})).then((result) => typeof result.thrown),
    ],
    settled: show(await Promise.allSettled([1, Promise.reject("no")])),
  };
}

import assert from "node:assert/strict";
import test from "node:test";

import { URL as Own, URLSearchParams as OwnParams } from "../src/web/url.js";

const PARTS = [
  "href",
  "origin",
  "protocol",
  "username",
  "password",
  "host",
  "hostname",
  "port",
  "pathname",
  "search",
  "hash",
];
const shown = (url) => url && Object.fromEntries(PARTS.map((part) => [part, url[part]]));
const parsed = (kind, ...args) => {
  try {
    return shown(new kind(...args));
  } catch (error) {
    return error.name;
  }
};

const BASE = "http://user:pw@example.com:8080/a/b/c?q=1#f";
const TEXTS = `
http://example.com|https://example.com:443/x|HTTP://EXAMPLE.com:80|http://a.b/c d?e f#g h|http://a/%41%zz?%41#%41|ws://h:81/p
http://a/b/../c/./d/..|http://a/b/%2e%2E/c|http://a//b///c|http://a\\b\\c|http:a|http:/a/b|http:///a/b|https:x/y|//h/p|/p|p|../p|../../../p
?x=y|#z||.|..|./|http://u@h/|http://u:p@h/|http://u:@h/|http://:p@h/|http://a@b@c/|http://@h/|http://h:|http://h:0/|http://h:65535|http://h:65536
http://h:x|http://|http://?|http://#|http:|://x|1http://x|http://a b|http://a%20b|http://a%41b|http://a<b|http://a%|http://ex%61mple.com
http://1.2.3.4|http://1.2.3|http://256.1.1.1|http://0x7f.1|http://017.1|http://1.2.3.4.5|http://1.2.3.4.|http://08|http://4294967295|http://4294967296|http://a.1.|http://1e3
http://[::1]/|http://[1:2:3:4:5:6:7:8]:9|http://[1::0:0:2:0:0:0]|http://[::ffff:1.2.3.4]|http://[::1|http://[1:2]|http://[::1::]|http://[ABCD::]|http://[0:0:1:0:0:1:0:0]|http://[10:0:0:100::]
mailto:a@b.c|data:text/plain,hi there?x#y|javascript:alert(1)|foo://h/p|foo:///p|foo:/p|foo:p/q|foo://h:99/p?q'|foo://a b/|foo:|foo:/.//p|blob:https://x.y/z|file:///a/b|file:a|file://localhost/x|file://h/x
http://h/"<>\`{}|http://h/ü?ü#ü|http://h/?'"<>|http://h/#"<>\`|http://h/🦀|http://h/\t\n x|  http://h/  |http://h/?#|http://h?a=b|http://h#|foo://h?|http://h/[]|http://h/;=:@,$&+!*()
http://h/?a+b=c%20d&e=&=f&g`
  .replaceAll("\n", "|")
  .split("|");

test("URLs without a base are parsed as by Node.js", () => {
  for (const text of TEXTS) assert.deepEqual(parsed(Own, text), parsed(URL, text), JSON.stringify(text));
});

test("URLs with a base are parsed as by Node.js", () => {
  for (const base of [BASE, "http://h", "foo://h/a/b", "mailto:x", "file:///a/b", "foo:/a/b"]) {
    for (const text of TEXTS)
      assert.deepEqual(parsed(Own, text, base), parsed(URL, text, base), JSON.stringify([text, base]));
  }
  assert.equal(parsed(Own, "x", "not a base"), "TypeError");
});

test("parts can be set as in Node.js", () => {
  const changes = [
    ["protocol", "https"],
    ["protocol", "foo"],
    ["protocol", "http:"],
    ["username", "ü:"],
    ["password", "p@"],
    ["host", "h:99"],
    ["host", "h:8080x"],
    ["host", "other"],
    ["hostname", "h2:1"],
    ["hostname", ""],
    ["hostname", "[::2]"],
    ["port", "99"],
    ["port", ""],
    ["port", "x"],
    ["port", "80"],
    ["port", 1234],
    ["pathname", "x/../y ?#"],
    ["pathname", ""],
    ["search", "a=b c"],
    ["search", "?"],
    ["search", ""],
    ["hash", "h h"],
    ["hash", "#"],
    ["hash", ""],
    ["href", "http://z/"],
  ];
  for (const [part, value] of changes) {
    const [own, native] = [new Own(BASE), new URL(BASE)];
    own[part] = value;
    native[part] = value;
    assert.deepEqual(shown(own), shown(native), `${part} = ${value}`);
  }
  assert.equal(JSON.stringify({ url: new Own("http://h") }), '{"url":"http://h/"}');
  assert.equal(Own.canParse("x"), false);
  assert.equal(Own.parse("x", BASE).href, URL.canParse("x", BASE) && new URL("x", BASE).href);
});

test("a URL and its parameters follow each other", () => {
  for (const kind of [Own, URL]) {
    const url = new kind("http://h/?a=1&b=2");
    const params = url.searchParams;
    params.append("c", "x y&z");
    params.delete("b");
    assert.equal(url.href, "http://h/?a=1&c=x+y%26z");
    url.search = "?d=4";
    assert.equal(params.get("d"), "4");
    params.delete("d");
    assert.equal(url.href, "http://h/");
    assert.equal(url.searchParams, params);
  }
});

test("parameters work as in Node.js", () => {
  const inits = [
    "",
    "?a=1&b",
    "a=%C3%BC+x%2B&a=2&%zz=%ff",
    [
      ["x", "y"],
      ["x", "z"],
    ],
    { k: "v", n: 1 },
    new Map([["m", "n"]]),
    "a=b=c&&=d",
  ];
  for (const init of inits) {
    const [own, native] = [new OwnParams(init), new URLSearchParams(init)];
    for (const params of [own, native]) {
      params.append("new", "~!*()'-._ ü🦀");
      params.set("a", "set");
      params.set("fresh", "1");
      params.delete("x", "y");
    }
    assert.deepEqual([...own], [...native]);
    assert.equal(String(own), String(native));
    own.sort();
    native.sort();
    assert.deepEqual([...own.keys(), ...own.values()], [...native.keys(), ...native.values()]);
    assert.deepEqual(
      [own.size, own.get("a"), own.get("none"), own.getAll("a"), own.has("a", "set")],
      [native.size, native.get("a"), native.get("none"), native.getAll("a"), native.has("a", "set")],
    );
  }
});

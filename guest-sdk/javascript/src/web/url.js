// `URL` and `URLSearchParams` after the URL Standard. What is left out: host names beyond ASCII, which are refused instead of being
// turned into punycode.

import { fromText, toTextLossy, fromLatin1 } from "../bytes.js";

const DEFAULT_PORTS = { "http:": "80", "https:": "443", "ws:": "80", "wss:": "443", "ftp:": "21", "file:": "" };
const isSpecial = (protocol) => protocol in DEFAULT_PORTS;

// Which characters of each part are percent-encoded, beside controls and all beyond ASCII.
const FRAGMENT = /[ "<>`]/;
const QUERY = /[ "#<>]/;
const SPECIAL_QUERY = /[ "#<>']/;
const PATH = /[ "#<>?^`{}]/;
const USERINFO = /[ "#<>?^`{}/:;=@[\]|\\]/;

const FORBIDDEN_HOST = /[\0\t\n\r #/:<>?@[\\\]^|]/;
const FORBIDDEN_DOMAIN = /[\0-\x20"#%/:<>?@[\\\]^`{|}\x7f]/;

function encode(text, set) {
  // Runs beyond ASCII are encoded as a whole, so that surrogate pairs stay together.
  return text.toWellFormed().replace(/[^\x20-\x7e]+|[ "#'<>?^`{}/:;=@[\]|\\]/g, (part) => {
    if (part.length === 1 && part >= " " && part <= "~" && !set.test(part)) return part;
    return Array.from(fromText(part), escapeByte).join("");
  });
}

const escapeByte = (byte) => `%${byte.toString(16).toUpperCase().padStart(2, "0")}`;

function percentDecode(text) {
  const latin1 = unescape(encodeURIComponent(text.toWellFormed())).replace(/%([0-9a-f]{2})/gi, (_all, hex) =>
    String.fromCharCode(parseInt(hex, 16)),
  );
  return toTextLossy(fromLatin1(latin1));
}

/** The parts of a URL, or undefined if the text is none. `base` are the parts of another. */
function parse(text, base) {
  let rest = text.replace(/^[\0-\x20]+|[\0-\x20]+$/g, "").replace(/[\t\n\r]/g, "");
  let fragment = "";
  const hash = rest.indexOf("#");
  if (hash >= 0) {
    if (hash < rest.length - 1) fragment = `#${encode(rest.slice(hash + 1), FRAGMENT)}`;
    else fragment = "#";
    rest = rest.slice(0, hash);
  }
  const scheme = /^([a-z][a-z0-9+.-]*):/i.exec(rest);
  if (scheme) {
    const protocol = scheme[0].toLowerCase();
    rest = rest.slice(scheme[0].length);
    const relative =
      isSpecial(protocol) && base?.protocol === protocol && !/^[/\\]{2}/.test(rest) && protocol !== "file:";
    if (!relative) return absolute(protocol, rest, fragment, base);
  } else if (!base || (base.opaque && (rest !== "" || hash < 0))) {
    return undefined;
  }
  return relativeTo(base, rest, fragment);
}

function absolute(protocol, rest, fragment, base) {
  const url = {
    protocol,
    username: "",
    password: "",
    host: null,
    port: "",
    path: "",
    query: null,
    fragment,
    opaque: false,
  };
  if (isSpecial(protocol)) {
    if (protocol === "file:") {
      if (!/^[/\\]{2}/.test(rest)) {
        return base?.protocol === "file:" ? relativeTo(base, rest, fragment) : finish({ ...url, host: "" }, rest);
      }
      return authority(url, rest.slice(2));
    }
    return authority(url, rest.replace(/^[/\\]*/, ""));
  }
  if (rest.startsWith("//")) return authority(url, rest.slice(2));
  if (rest.startsWith("/")) return finish(url, rest);
  const [path, query] = splitQuery(rest);
  url.opaque = true;
  url.path = encode(path, /[^\x20-\x7e]/);
  url.query = query === null ? null : encode(query, QUERY);
  return url;
}

function authority(url, rest) {
  const end = rest.search(isSpecial(url.protocol) ? /[/\\?]/ : /[/?]/);
  let place = end < 0 ? rest : rest.slice(0, end);
  const at = place.lastIndexOf("@");
  if (at >= 0) {
    const credentials = place.slice(0, at);
    const colon = credentials.indexOf(":");
    url.username = encode(colon < 0 ? credentials : credentials.slice(0, colon), USERINFO);
    url.password = colon < 0 ? "" : encode(credentials.slice(colon + 1), USERINFO);
    place = place.slice(at + 1);
    if (place === "") return undefined;
  }
  const port = /:([^:\]]*)$/.exec(place);
  if (port) {
    place = place.slice(0, port.index);
    if (!setPort(url, port[1]) || place === "") return undefined;
  }
  url.host = parseHost(place, isSpecial(url.protocol));
  if (url.host === undefined || (url.host === "" && isSpecial(url.protocol) && url.protocol !== "file:"))
    return undefined;
  if (url.protocol === "file:") {
    if (port || at >= 0) return undefined;
    if (url.host === "localhost") url.host = "";
  }
  return finish(url, end < 0 ? "" : rest.slice(end));
}

function setPort(url, text) {
  if (!/^[0-9]*$/.test(text) || Number(text) > 65535) return false;
  url.port = text === "" || String(Number(text)) === DEFAULT_PORTS[url.protocol] ? "" : String(Number(text));
  return true;
}

function relativeTo(base, rest, fragment) {
  const url = { ...base, fragment };
  const special = isSpecial(base.protocol);
  if (rest === "") return url;
  if (rest.startsWith("?")) return { ...url, query: encodeQuery(url, rest.slice(1)) };
  if (special ? /^[/\\]{2}/.test(rest) : rest.startsWith("//")) {
    Object.assign(url, { username: "", password: "", port: "" });
    return authority(url, base.protocol === "file:" ? rest.slice(2) : rest.replace(special ? /^[/\\]*/ : /^\/\//, ""));
  }
  if (rest.startsWith("/") || (special && rest.startsWith("\\"))) return finish(url, rest);
  return finish(url, base.path.slice(0, base.path.lastIndexOf("/") + 1) + rest);
}

function finish(url, rest) {
  const [path, query] = splitQuery(rest);
  url.path = parsePath(url, path);
  url.query = query === null ? null : encodeQuery(url, query);
  return url;
}

function splitQuery(text) {
  const mark = text.indexOf("?");
  return mark < 0 ? [text, null] : [text.slice(0, mark), text.slice(mark + 1)];
}

const encodeQuery = (url, query) => encode(query, isSpecial(url.protocol) ? SPECIAL_QUERY : QUERY);

function parsePath(url, text) {
  const special = isSpecial(url.protocol);
  const segments = (special ? text.replace(/\\/g, "/") : text).split("/");
  if (segments[0] === "") segments.shift();
  if (text === "" && !special) return "";
  const path = [];
  segments.forEach((segment, index) => {
    const last = index === segments.length - 1;
    const plain = segment.replace(/%2e/gi, ".");
    if (plain === "..") {
      path.pop();
      if (last) path.push("");
    } else if (plain === ".") {
      if (last) path.push("");
    } else {
      path.push(encode(segment, PATH));
    }
  });
  return `/${path.join("/")}`;
}

function parseHost(text, special) {
  if (text.startsWith("[")) return text.endsWith("]") ? parseIpv6(text.slice(1, -1)) : undefined;
  if (!special) return FORBIDDEN_HOST.test(text) ? undefined : encode(text, /[^\x20-\x7e]/);
  const domain = percentDecode(text).toLowerCase();
  if (FORBIDDEN_DOMAIN.test(domain) || /[^\x00-\x7f]/.test(domain)) return undefined;
  const parts = domain.split(".");
  if (parts.at(-1) === "" && parts.length > 1) parts.pop();
  return /^([0-9]+|0x[0-9a-f]*)$/.test(parts.at(-1)) ? parseIpv4(parts) : domain;
}

function parseIpv4(parts) {
  if (parts.length > 4) return undefined;
  const numbers = parts.map((part) => {
    if (/^0x[0-9a-f]*$/.test(part)) return parseInt(part.slice(2) || "0", 16);
    if (/^0[0-7]*$/.test(part)) return parseInt(part, 8);
    return /^[1-9][0-9]*$/.test(part) ? Number(part) : NaN;
  });
  const last = numbers.pop();
  if (numbers.some((number) => !(number <= 255)) || !(last < 256 ** (4 - numbers.length))) return undefined;
  const address = numbers.reduce((sum, number, index) => sum + number * 256 ** (3 - index), last);
  return [24, 16, 8, 0].map((shift) => Math.floor(address / 2 ** shift) % 256).join(".");
}

function parseIpv6(text) {
  let groups = text;
  const dotted = /^(.*:)([0-9]+\.[0-9]+\.[0-9]+\.[0-9]+)$/.exec(text);
  if (dotted) {
    const bytes = dotted[2].split(".").map((part) => (/^(0|[1-9][0-9]{0,2})$/.test(part) ? Number(part) : 256));
    if (bytes.some((byte) => byte > 255)) return undefined;
    groups = `${dotted[1]}${(bytes[0] * 256 + bytes[1]).toString(16)}:${(bytes[2] * 256 + bytes[3]).toString(16)}`;
  }
  const halves = groups.split("::").map((half) => (half === "" ? [] : half.split(":")));
  const count = halves.flat().length;
  if (halves.length > 2 || (halves.length === 2 ? count > 7 : count !== 8)) return undefined;
  if (halves.flat().some((group) => !/^[0-9a-f]{1,4}$/i.test(group))) return undefined;
  if (halves.length === 2) halves.splice(1, 0, new Array(8 - count).fill("0"));
  const words = halves.flat().map((group) => parseInt(group, 16).toString(16));
  // The first longest run of zeros, of two or more, is left out.
  const runs = [...words.join(":").matchAll(/(?<![0-9a-f])0(?::0)+(?![0-9a-f])/g)].sort(
    (a, b) => b[0].length - a[0].length,
  );
  const joined = words.join(":");
  if (runs.length === 0) return `[${joined}]`;
  const { index, 0: run } = runs[0];
  return `[${joined.slice(0, index).replace(/:$/, "")}::${joined.slice(index + run.length).replace(/^:/, "")}]`;
}

export class URL {
  #url;
  #params;

  constructor(url, base) {
    const parsedBase = base === undefined ? undefined : parse(String(base));
    const parsed = base !== undefined && !parsedBase ? undefined : parse(String(url), parsedBase);
    if (!parsed) throw new TypeError(`Invalid URL: ${url}`);
    this.#url = parsed;
  }

  static parse(url, base) {
    try {
      return new URL(url, base);
    } catch {
      return null;
    }
  }

  static canParse(url, base) {
    return URL.parse(url, base) !== null;
  }

  get href() {
    const { protocol, username, password, host, path, query, fragment, opaque } = this.#url;
    const credentials = username || password ? `${username}${password && `:${password}`}@` : "";
    const place = host !== null ? `//${credentials}${this.host}` : !opaque && path.startsWith("//") ? "/." : "";
    return `${protocol}${place}${path}${query === null ? "" : `?${query}`}${fragment}`;
  }

  set href(value) {
    this.#url = new URL(value).#url;
    this.#refresh();
  }

  get origin() {
    if (this.protocol === "blob:") return URL.parse(this.pathname)?.origin ?? "null";
    return isSpecial(this.protocol) && this.protocol !== "file:" ? `${this.protocol}//${this.host}` : "null";
  }

  get protocol() {
    return this.#url.protocol;
  }

  set protocol(value) {
    const protocol = /^([a-z][a-z0-9+.-]*):?/i.exec(value)?.[1].toLowerCase();
    if (protocol === undefined || isSpecial(`${protocol}:`) !== isSpecial(this.protocol)) return;
    this.#url.protocol = `${protocol}:`;
    setPort(this.#url, this.#url.port);
  }

  get username() {
    return this.#url.username;
  }

  set username(value) {
    if (this.#url.host) this.#url.username = encode(String(value), USERINFO);
  }

  get password() {
    return this.#url.password;
  }

  set password(value) {
    if (this.#url.host) this.#url.password = encode(String(value), USERINFO);
  }

  get host() {
    return `${this.#url.host ?? ""}${this.#url.port && `:${this.#url.port}`}`;
  }

  set host(value) {
    const port = /^((?:\[[^\]]*\]|[^:[])*)(?::([0-9]*))?/.exec(value);
    this.hostname = port[1];
    if (port[2]) this.port = port[2];
  }

  get hostname() {
    return this.#url.host ?? "";
  }

  set hostname(value) {
    const [text, , end] = /^(\[[^\]]*\]|[^:/\\?#]*)(.?)/.exec(value);
    if (this.#url.opaque || end === ":") return;
    const host = parseHost(text.slice(0, text.length - end.length), isSpecial(this.protocol));
    if (host !== undefined && (host !== "" || !isSpecial(this.protocol))) this.#url.host = host;
  }

  get port() {
    return this.#url.port;
  }

  set port(value) {
    const digits = /^[0-9]*/.exec(String(value))[0];
    if (this.#url.host && (digits !== "" || value === "")) setPort(this.#url, digits);
  }

  get pathname() {
    return this.#url.path;
  }

  set pathname(value) {
    if (!this.#url.opaque)
      this.#url.path = parsePath(
        this.#url,
        String(value).replace(/[?#]/g, (mark) => escapeByte(mark.charCodeAt(0))),
      );
  }

  get search() {
    return this.#url.query ? `?${this.#url.query}` : "";
  }

  set search(value) {
    const text = String(value);
    this.#url.query = text === "" ? null : encodeQuery(this.#url, text.replace(/^\?/, ""));
    this.#refresh();
  }

  get searchParams() {
    this.#params ??= followed(this.#url.query ?? "", (text) => (this.#url.query = text === "" ? null : text));
    return this.#params;
  }

  get hash() {
    return this.#url.fragment === "#" ? "" : this.#url.fragment;
  }

  set hash(value) {
    const text = String(value);
    this.#url.fragment = text === "" ? "" : `#${encode(text.replace(/^#/, ""), FRAGMENT)}`;
  }

  toString() {
    return this.href;
  }

  toJSON() {
    return this.href;
  }

  #refresh() {
    if (this.#params) reset(this.#params, this.#url.query ?? "");
  }
}

let followed, reset;

export class URLSearchParams {
  #list = [];
  #changed = () => {};

  static {
    followed = (query, changed) => {
      const params = new URLSearchParams(query);
      params.#changed = () => changed(params.toString());
      return params;
    };
    reset = (params, query) => (params.#list = parseQuery(query));
  }

  constructor(init = "") {
    if (typeof init === "string" || typeof init !== "object" || init === null) {
      this.#list = parseQuery(String(init).replace(/^\?/, ""));
      return;
    }
    const pairs = typeof init[Symbol.iterator] === "function" ? init : Object.entries(init);
    for (const pair of pairs) {
      const [name, value, ...more] = pair;
      if (value === undefined || more.length > 0) throw new TypeError("each pair has a name and a value");
      this.#list.push([String(name), String(value)]);
    }
  }

  get size() {
    return this.#list.length;
  }

  append(name, value) {
    this.#list.push([String(name), String(value)]);
    this.#changed();
  }

  delete(name, value) {
    this.#list = this.#list.filter(([n, v]) => n !== String(name) || (value !== undefined && v !== String(value)));
    this.#changed();
  }

  get(name) {
    return this.#list.find(([n]) => n === String(name))?.[1] ?? null;
  }

  getAll(name) {
    return this.#list.filter(([n]) => n === String(name)).map(([, value]) => value);
  }

  has(name, value) {
    return this.#list.some(([n, v]) => n === String(name) && (value === undefined || v === String(value)));
  }

  set(name, value) {
    const at = this.#list.findIndex(([n]) => n === String(name));
    const others = (pair, index) => index === at || pair[0] !== String(name);
    if (at < 0) this.#list.push([String(name), String(value)]);
    else this.#list[at] = [String(name), String(value)];
    if (at >= 0) this.#list = this.#list.filter(others);
    this.#changed();
  }

  sort() {
    this.#list.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
    this.#changed();
  }

  forEach(callback, self) {
    for (const [name, value] of this) callback.call(self, value, name, this);
  }

  *entries() {
    for (let i = 0; i < this.#list.length; i++) yield [...this.#list[i]];
  }

  *keys() {
    for (const [name] of this) yield name;
  }

  *values() {
    for (const [, value] of this) yield value;
  }

  [Symbol.iterator]() {
    return this.entries();
  }

  toString() {
    return this.#list.map((pair) => pair.map(encodeForm).join("=")).join("&");
  }
}

function parseQuery(query) {
  const decode = (text) => percentDecode(text.replace(/\+/g, " "));
  return query
    .split("&")
    .filter((part) => part !== "")
    .map((part) => {
      const equals = part.indexOf("=");
      return equals < 0 ? [decode(part), ""] : [decode(part.slice(0, equals)), decode(part.slice(equals + 1))];
    });
}

function encodeForm(text) {
  return encodeURIComponent(text.toWellFormed())
    .replace(/[!'()~]/g, (mark) => escapeByte(mark.charCodeAt(0)))
    .replace(/%20/g, "+");
}

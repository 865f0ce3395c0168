/** The page of a room: shows messages and sends new ones. `holdfast-socket.js` keeps and resends them. */

import { HoldfastSocket, claimStore } from "./holdfast-socket.js";

/** @param {string} id @returns {any} */
const $ = (id) => document.getElementById(id);
const base = new URL(document.baseURI);
const room = decodeURIComponent(base.pathname.split("/").at(-2) ?? "");

/** Messages of one person within this many milliseconds are shown together. */
const TOGETHER = 5 * 60_000;
/** How long a person counts as typing after a notice, and how often a notice is sent. */
const TYPING = 4_000;
/** The number of messages that stay on the page. */
const SHOWN = 1_000;

// ---- Colours

const THEMES = ["automatic", "light", "dark"];
let theme = Math.max(0, THEMES.indexOf(localStorage.getItem("chat-theme") ?? ""));
function showTheme() {
  document.documentElement.dataset.theme = THEMES[theme];
  $("theme").title = `Colours: ${THEMES[theme]}`;
  $("theme").setAttribute("aria-label", $("theme").title);
}
$("theme").onclick = () => {
  theme = (theme + 1) % THEMES.length;
  localStorage.setItem("chat-theme", /** @type {string} */ (THEMES[theme]));
  showTheme();
};

showTheme();

// ---- Who I am

/** @returns {Promise<string>} */
async function askName(before = "") {
  $("name").value = before;
  $("join").showModal();
  $("name").select();
  return new Promise((resolve) => {
    $("join").onclose = () => {
      const name = $("name").value.trim();
      if (!name) return $("join").showModal();
      localStorage.setItem("chat-name", name);
      resolve(name);
    };
  });
}

// ---- Small pieces

/** @param {string} tag @param {Record<string, any>} [properties] @param {(Node | string)[]} children */
function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

// The page is in English, so dates in words are in English too.
const { lang } = document.documentElement;
const time = new Intl.DateTimeFormat(undefined, { timeStyle: "short" });
const date = new Intl.DateTimeFormat(lang, { weekday: "long", day: "numeric", month: "long" });
const ago = new Intl.RelativeTimeFormat(lang, { numeric: "auto", style: "short" });

/** @param {number} at */
function day(at) {
  const days = Math.round((new Date().setHours(0, 0, 0, 0) - new Date(at).setHours(0, 0, 0, 0)) / 86_400_000);
  return days < 2 ? ago.format(-days, "day") : date.format(at);
}

/** @param {number} at */
function since(at) {
  const minutes = Math.round((Date.now() - at) / 60_000);
  if (minutes < 1) return "just now";
  if (minutes < 60) return ago.format(-minutes, "minute");
  return minutes < 24 * 60 ? ago.format(-Math.round(minutes / 60), "hour") : ago.format(-Math.round(minutes / 1440), "day");
}

/** A person's initials on a colour of their own. @param {string} name */
function avatar(name) {
  const initials = name.split(/\s+/).slice(0, 2).map((word) => [...word][0] ?? "").join("");
  const made = element("span", { className: "avatar", ariaHidden: "true" }, initials.toUpperCase());
  let hue = 0;
  for (const letter of name) hue = (hue * 31 + (letter.codePointAt(0) ?? 0)) % 360;
  made.style.setProperty("--hue", String(hue));
  return made;
}

/** The text of a message, with links. @param {string} text */
function body(text) {
  const only = /^\p{Extended_Pictographic}[\p{Extended_Pictographic}\u200d\ufe0f]{0,7}$/u.test(text);
  const made = element("p", { className: only ? "text emoji" : "text", dir: "auto" });
  for (const part of text.split(/(https?:\/\/[^\s<>"]*[^\s<>".,;:!?)\]])/)) {
    if (/^https?:\/\//.test(part)) {
      made.append(element("a", { href: part, target: "_blank", rel: "noopener noreferrer nofollow" }, part));
    } else {
      made.append(part);
    }
  }
  return made;
}

/** Runs work at most once for each painted frame. @param {() => void} work */
function painted(work) {
  let waits = false;
  return () => {
    if (waits) return;
    waits = true;
    // Hidden pages paint nothing.
    (document.hidden ? queueMicrotask : requestAnimationFrame)(() => {
      waits = false;
      work();
    });
  };
}

// ---- The room

const given = new URLSearchParams(location.search).get("name")?.trim();
document.title = $("room").textContent = $("join-room").textContent = room;
const me = given || localStorage.getItem("chat-name") || (await askName());
const socket = new HoldfastSocket(new URL("socket", base), {
  parameters: { name: me },
  store: await claimStore(`chat ${base.pathname} ${me}`),
});

/** @typedef {{ seq: number, from: string, to?: string, text: string, at: number }} Line */
/** @typedef {{ name: string, online: boolean, seen: number }} Person */

/** @type {Line | undefined} */ let last;
/** @type {Map<string, Person>} */ const people = new Map();
/** The people who are typing, with the end of their notice. @type {Map<string, number>} */ const typing = new Map();
/** The messages that the room refused. @type {{ id: number, event: any, reason: string }[]} */ const refused = [];
let unread = 0;
let welcomed = false;

socket.addEventListener("welcome", ({ detail: welcome }) => {
  if (welcome.reset) {
    // Screen readers do not read the history aloud.
    $("log").ariaLive = "off";
    $("lines").replaceChildren();
    last = undefined;
  }
  people.clear();
  for (const person of welcome.people) people.set(person.name, person);
  typing.clear();
  showPeople();
  showTyping();
  showPending();
  // After the events, which follow at once.
  queueMicrotask(() => {
    $("empty").hidden = last !== undefined;
    if (welcome.reset) toLatest();
    welcomed = true;
    requestAnimationFrame(() => ($("log").ariaLive = "polite"));
  });
});

socket.addEventListener("event", ({ detail: { event } }) => {
  if (event.type === "message") {
    typing.delete(event.from);
    showTyping();
    showLine(event);
  } else if (event.type === "person") {
    people.set(event.name, event);
    if (!event.online) typing.delete(event.name);
    showPeople();
  } else if (event.type === "typing" && event.name !== me) {
    typing.set(event.name, Date.now() + TYPING);
    setTimeout(showTyping, TYPING + 50);
    showTyping();
  }
});

socket.addEventListener("acknowledged", () => showPending());
socket.addEventListener("refused", ({ detail }) => {
  refused.push(detail);
  showPending();
});

socket.addEventListener("state", ({ detail: { state, retryIn, reason } }) => {
  showConnection(state, retryIn, reason);
  showPending();
});

// ---- Messages

/** @param {Line} line */
function showLine(line) {
  const wasAtEnd = isAtEnd();
  const isMine = line.from === me;
  if (!last || new Date(last.at).toDateString() !== new Date(line.at).toDateString()) {
    $("lines").append(element("li", { className: "day" }, element("span", {}, day(line.at))));
    last = undefined;
  }
  const follows = last !== undefined && last.from === line.from && last.to === line.to && line.at - last.at < TOGETHER;
  if (welcomed && !isMine && (document.hidden || !wasAtEnd)) {
    if (unread === 0) markUnread();
    unread += 1;
  }
  $("lines").append(lineElement(line, isMine, follows && $("lines").lastElementChild?.className !== "unread"));
  while ($("lines").childElementCount > SHOWN) $("lines").firstElementChild?.remove();
  $("empty").hidden = true;
  last = line;
  if (isMine || (wasAtEnd && !document.hidden)) toLatest();
  showUnread();
}

/** @param {Line} line @param {boolean} isMine @param {boolean} follows */
function lineElement(line, isMine, follows) {
  const item = element("li", { className: "line" });
  item.dataset.seq = String(line.seq);
  item.classList.toggle("mine", isMine);
  item.classList.toggle("follows", follows);
  item.classList.toggle("private", line.to !== undefined);
  item.classList.toggle("mentions", !isMine && line.text.toLowerCase().includes(`@${me.toLowerCase()}`));
  const sent = new Date(line.at);
  const stamp = element("time", { dateTime: sent.toISOString(), title: sent.toLocaleString() }, time.format(sent));
  const head = element("p", { className: "head" }, element("b", {}, isMine ? "You" : line.from));
  if (line.to !== undefined) head.append(element("span", { className: "to" }, isMine ? ` to ${line.to}, privately` : " to you, privately"));
  head.append(" ", stamp);
  item.append(avatar(line.from), element("div", { className: "bubble" }, head, body(line.text)));
  return item;
}

const showPending = painted(() => {
  const wasAtEnd = isAtEnd();
  const waiting = socket.pending.map(({ id, event }) => {
    const note = element("p", { className: "note" }, socket.state === "open" ? "Sending" : "Will be sent when you are connected");
    return pendingElement(id, event, note);
  });
  const failed = refused.map((entry) => {
    const edit = element("button", { onclick: () => takeBack(entry) }, "Edit");
    const drop = element("button", { onclick: () => (refused.splice(refused.indexOf(entry), 1), showPending()) }, "Discard");
    const item = pendingElement(entry.id, entry.event, element("p", { className: "note" }, `Not sent: ${entry.reason}. `, edit, drop));
    item.classList.add("refused");
    return item;
  });
  $("pending").replaceChildren(...failed, ...waiting);
  $("pending").hidden = failed.length + waiting.length === 0;
  if (wasAtEnd) toLatest();
});

/** @param {number} id @param {{ text: string, to?: string }} event @param {HTMLElement} note */
function pendingElement(id, { text, to }, note) {
  const item = element("li", { className: "line mine pending" }, element("div", { className: "bubble" }, body(text), note));
  item.dataset.id = String(id);
  item.classList.toggle("private", to !== undefined);
  return item;
}

/** @param {{ id: number, event: any }} entry */
function takeBack(entry) {
  refused.splice(refused.findIndex((other) => other === entry), 1);
  $("text").value = entry.event.text;
  writeTo(entry.event.to);
  fit();
  showPending();
}

// ---- What was read

const isAtEnd = () => $("log").scrollHeight - $("log").scrollTop - $("log").clientHeight < 60;

function toLatest() {
  $("log").scrollTop = $("log").scrollHeight;
}

function markUnread() {
  $("lines").querySelector(".unread")?.remove();
  $("lines").append(element("li", { className: "unread" }, element("span", {}, "New")));
}

function haveRead() {
  if (document.hidden || !isAtEnd()) return;
  unread = 0;
  showUnread();
}

function showUnread() {
  document.title = unread > 0 ? `(${unread}) ${room}` : room;
  $("latest").hidden = isAtEnd();
  $("latest-text").textContent = unread > 0 ? `${unread} new` : "Latest";
}

$("log").addEventListener("scroll", () => {
  haveRead();
  showUnread();
});
$("latest").onclick = () => {
  toLatest();
  $("text").focus();
};
document.addEventListener("visibilitychange", () => {
  // New messages are shown from the first one.
  if (!document.hidden && unread > 0) $("lines").querySelector(".unread")?.scrollIntoView({ block: "center" });
  haveRead();
});

// ---- People

function showPeople() {
  const sorted = [...people.values()].sort((a, b) => a.name.localeCompare(b.name));
  const online = sorted.filter((person) => person.online);
  const away = sorted.filter((person) => !person.online).sort((a, b) => b.seen - a.seen);
  $("online-count").textContent = String(online.length);
  $("show-people").setAttribute("aria-label", `People: ${online.length} here`);
  $("online").replaceChildren(...online.map(personElement));
  $("away").replaceChildren(...away.map(personElement));
  $("away-title").hidden = away.length === 0;
  $("rename").textContent = `You are ${me}. Change`;
}

/** @param {Person} person */
function personElement({ name, online, seen }) {
  const note = name === me ? "you" : online ? "" : since(seen);
  const row = [avatar(name), element("span", { className: "name", dir: "auto" }, name), element("span", { className: "note" }, note)];
  const item = element("li", { className: online ? "is-online" : "" });
  if (name === me) item.append(element("span", { className: "person" }, ...row));
  else item.append(element("button", { className: "person", title: `Write to ${name} only`, onclick: () => writeTo(name) }, ...row));
  return item;
}

function showTyping() {
  for (const [name, until] of typing) if (until <= Date.now()) typing.delete(name);
  const names = [...typing.keys()];
  const who = names.length > 2 ? `${names.length} people are` : names.length === 2 ? `${names[0]} and ${names[1]} are` : `${names[0]} is`;
  $("typing").textContent = names.length > 0 ? `${who} typing` : "";
}

// ---- The connection

/** @type {ReturnType<typeof setInterval> | undefined} */ let countdown;

/** @param {string} state @param {number} [retryIn] @param {string} [reason] */
function showConnection(state, retryIn = 0, reason = "") {
  clearInterval(countdown);
  $("connection").dataset.state = state;
  $("wake").hidden = state !== "waiting" || retryIn < 1500;
  const until = Date.now() + retryIn;
  const say = () => {
    const seconds = Math.ceil((until - Date.now()) / 1000);
    const waiting = seconds > 1 ? `Not connected, again in ${seconds} s` : "Reconnecting";
    const texts = { open: "Connected", connecting: "Connecting", waiting, closed: reason ? `Closed: ${reason}` : "Closed" };
    $("connection-text").textContent = texts[/** @type {keyof typeof texts} */ (state)];
  };
  say();
  if (state === "waiting") countdown = setInterval(say, 1000);
}

$("wake").onclick = () => socket.wake();

// ---- Writing

/** The recipient of the next message; all people if undefined. @type {string | undefined} */
let recipient;

/** @param {string} [name] */
function writeTo(name) {
  recipient = name;
  $("recipient").hidden = name === undefined;
  $("recipient-name").textContent = name ?? "";
  $("text").placeholder = name === undefined ? "Message" : `Message to ${name}`;
  showPanel(false);
  $("text").focus();
}

function fit() {
  $("text").style.height = "auto";
  $("text").style.height = `${$("text").scrollHeight}px`;
  $("send").disabled = $("text").value.trim() === "";
}

let saidTyping = 0;
$("text").addEventListener("input", () => {
  fit();
  // Typing of a private message is not announced.
  if (recipient !== undefined || $("text").value.trim() === "" || Date.now() - saidTyping < TYPING - 1000) return;
  saidTyping = Date.now();
  socket.sendNow({ type: "typing" });
});

$("text").addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    $("composer").requestSubmit();
  } else if (event.key === "PageUp" || event.key === "PageDown") {
    const page = 0.8 * $("log").clientHeight;
    $("log").scrollBy({ top: event.key === "PageUp" ? -page : page });
  } else if (event.key === "Escape") {
    writeTo();
  }
});

$("composer").addEventListener("submit", (/** @type {SubmitEvent} */ event) => {
  event.preventDefault();
  const text = $("text").value.trim();
  if (text === "") return;
  socket.send({ type: "message", text, to: recipient });
  $("text").value = "";
  saidTyping = 0;
  fit();
  showPending();
  toLatest();
  $("text").focus();
});

$("to-all").onclick = () => writeTo();

// ---- Panels

/** @param {boolean} shown */
function showPanel(shown) {
  document.body.classList.toggle("people", shown);
  $("show-people").setAttribute("aria-expanded", String(shown));
}

$("show-people").onclick = () => showPanel(!document.body.classList.contains("people"));
document.querySelector("main")?.addEventListener("pointerdown", () => showPanel(false));
$("rename").onclick = async () => {
  await askName(me);
  location.assign(location.pathname);
};

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && document.body.classList.contains("people")) {
    showPanel(false);
    $("show-people").focus();
  }
});
// Times such as "5 min. ago" need updates.
setInterval(showPeople, 60_000);

showConnection(socket.state);
showPending();
fit();
if (matchMedia("(hover: hover)").matches) $("text").focus();

/**
 * Two people in a room of `examples/chat`, in two browsers. The host is killed and restarted; a browser is killed and
 * restarted, once in the middle of a conversation and once with a message that it could not send. No message is lost or
 * shown twice.
 */
import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";

import { Browser, eventually, host, story, url } from "./browser.mjs";

const ROOM = `${url}/chat/lobby`;

const isOpen = (page) => page.waitForSelector('#connection[data-state="open"]');
const isLost = (page) => page.waitForSelector('#connection:not([data-state="open"])');

/** Returns the messages on a page, in their order. */
const said = (page) => page.$$eval("#lines .line", (lines) => lines.map((line) => line.querySelector(".text").textContent));
const numbers = (page) => page.$$eval("#lines .line", (lines) => lines.map((line) => Number(line.dataset.seq)));

async function say(page, text) {
  await page.fill("#text", text);
  await page.press("#text", "Enter");
}

function sees(page, ...texts) {
  const all = (wanted) => {
    const shown = [...document.querySelectorAll("#lines .line .text")].map((element) => element.textContent);
    return wanted.every((text) => shown.includes(text));
  };
  return page.waitForFunction(all, texts);
}

const hasSentAll = (page) => page.waitForFunction(() => document.querySelectorAll("#pending .line").length === 0);
const waits = (page, text) => page.locator("#pending .line", { hasText: text }).waitFor();
const isAmong = (page, list, name) => page.locator(`#${list} .name`, { hasText: name }).waitFor();

/** Checks that both pages show the same messages, in the order of sending, none twice. */
async function sameOnBoth(ann, ben) {
  const [seen, order] = [await said(ann), await numbers(ann)];
  assert.deepEqual(await said(ben), seen);
  assert.deepEqual(await numbers(ben), order);
  assert.deepEqual(order, [...new Set(order)].sort((a, b) => a - b));
  assert.deepEqual(seen, [...new Set(seen)], "each text was said once");
  return seen;
}

/** Waits until a browser has written its pages' data to its files: a killed browser keeps only that. */
function isOnDisk(browser, text) {
  const directory = join(browser.profile, "Default", "Local Storage");
  const files = readdirSync(directory, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  return files.some((file) => readFileSync(join(file.parentPath, file.name)).includes(text));
}

await story(async () => {
  const annsBrowser = await Browser.launch("ann");
  const ann = annsBrowser.page;
  let bensBrowser = await Browser.launch("ben", { size: [390, 780], colors: "dark" });
  let ben = bensBrowser.page;

  const comeBack = async () => {
    bensBrowser = await Browser.launch("ben", { size: [390, 780], colors: "dark" });
    ben = bensBrowser.page;
    await ben.goto(`${ROOM}?name=ben`);
    await isOpen(ben);
  };

  // Two people meet.
  await ann.goto(ROOM);
  await ann.fill("#name", "ann");
  await annsBrowser.screenshot("join");
  await ann.press("#name", "Enter");
  await isOpen(ann);
  await ben.goto(`${ROOM}?name=ben`);
  await isOpen(ben);
  await isAmong(ann, "online", "ben");
  await say(ann, "Hello, is anybody here?");
  await sees(ben, "Hello, is anybody here?");
  await ben.locator("#text").pressSequentially("I");
  await ann.getByText("ben is typing").waitFor();
  await say(ben, "I am! See https://example.org/notes.");
  await sees(ann, "I am! See https://example.org/notes.");
  await Promise.all([ann, ben].map(hasSentAll));
  assert.deepEqual(await sameOnBoth(ann, ben), ["Hello, is anybody here?", "I am! See https://example.org/notes."]);

  // A private message is not shown to others.
  await ann.locator("#online button", { hasText: "ben" }).click();
  await say(ann, "Between us");
  await ann.click("#to-all");
  await sees(ben, "Between us");
  assert.equal(await ben.locator("#lines .line.private").count(), 1);
  const published = await (await fetch(`${ROOM}/messages`)).json();
  assert.deepEqual(published.map(({ text }) => text), ["Hello, is anybody here?", "I am! See https://example.org/notes."]);
  await annsBrowser.screenshot("talking-ann");
  await bensBrowser.screenshot("talking-ben");

  // The host is killed while both are connected; both write; the host is restarted, and the open pages reconnect.
  await ann.$eval("#lines .line", (line) => (line.id = "before"));
  await host.kill();
  await Promise.all([ann, ben].map(isLost));
  await say(ann, "Are you still there?");
  await say(ben, "I think the host is gone");
  await Promise.all([waits(ann, "Are you still there?"), waits(ben, "I think the host is gone")]);
  await annsBrowser.screenshot("host-is-away");
  await host.restart();
  await Promise.all([ann, ben].map((page) => sees(page, "Are you still there?", "I think the host is gone")));
  await Promise.all([ann, ben].map(hasSentAll));
  assert.equal((await sameOnBoth(ann, ben)).length, 5);
  assert.equal(await ann.locator("#before").count(), 1, "it went on where it was instead of beginning anew");

  // Ben's browser is killed while Ann writes, faster than the room allows; it is restarted while she still writes.
  const talk = Array.from({ length: 14 }, (_, n) => `Line ${n + 1} of fourteen`);
  for (const line of talk) await say(ann, line);
  await sees(ben, talk[2]);
  await bensBrowser.kill();
  await isAmong(ann, "away", "ben");
  await comeBack();
  await isAmong(ann, "online", "ben");
  await Promise.all([ann, ben].map((page) => sees(page, ...talk)));
  await hasSentAll(ann);
  assert.deepEqual((await sameOnBoth(ann, ben)).slice(5), talk);

  // The worst case: host killed, Ben writes, his browser is killed, host restarted, Ann writes, Ben reconnects.
  await host.kill();
  await Promise.all([ann, ben].map(isLost));
  await say(ben, "Never sent by the one who wrote it");
  await waits(ben, "Never sent by the one who wrote it");
  await eventually("the browser to write it down", () => isOnDisk(bensBrowser, "Never sent by the one who wrote it"));
  await bensBrowser.kill();
  await host.restart();
  await isOpen(ann);
  await isAmong(ann, "away", "ben");
  await say(ann, "Ben?");
  await sees(ann, "Ben?");
  await comeBack();
  await Promise.all([ann, ben].map((page) => sees(page, "Ben?", "Never sent by the one who wrote it")));
  await Promise.all([ann, ben].map(hasSentAll));
  const seen = await sameOnBoth(ann, ben);
  assert.deepEqual(seen.slice(5 + talk.length), ["Ben?", "Never sent by the one who wrote it"]);

  // A reloaded page shows the same messages.
  await ann.reload();
  await isOpen(ann);
  await sees(ann, ...seen);
  assert.deepEqual(await sameOnBoth(ann, ben), seen);
  await annsBrowser.screenshot("end-ann");
  await bensBrowser.screenshot("end-ben");
});

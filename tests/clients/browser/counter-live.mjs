/** The page of `examples/counter-live` in two browsers: both show each click, also after the host was restarted. */
import assert from "node:assert/strict";

import { Browser, host, story, url } from "./browser.mjs";

const COUNTER = `${url}/counter-live/clicks`;

const shows = (page, number) =>
  page.waitForFunction((wanted) => document.querySelector("output").value === wanted, String(number));

await story(async () => {
  const browsers = [await Browser.launch("one"), await Browser.launch("two")];
  const pages = browsers.map(({ page }) => page);
  const bothShow = (number) => Promise.all(pages.map((page) => shows(page, number)));

  await Promise.all(pages.map((page) => page.goto(COUNTER)));
  await bothShow(0);
  await pages[0].click("button");
  await bothShow(1);
  for (let n = 0; n < 5; n++) await Promise.all(pages.map((page) => page.click("button")));
  await bothShow(11);
  await fetch(COUNTER, { method: "POST" });
  await bothShow(12);

  await host.kill();
  await Promise.all(pages.map((page) => page.locator("button:disabled").waitFor()));
  await host.restart();
  await Promise.all(pages.map((page) => page.locator("button:enabled").waitFor()));
  await bothShow(12);
  await pages[1].click("button");
  await bothShow(13);
  assert.equal(await pages[0].title(), "13");
  await browsers[0].screenshot("counter");
});

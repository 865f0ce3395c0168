/**
 * Real browsers, each a process of its own with a profile that outlives it, and the host that a story talks to.
 *
 * Stories are started by `tests/e2e/browser.rs` with a URL and a directory for what they leave (profiles, screenshots). What a story wants
 * of its host it asks for on standard output, and is told on standard input that it is done. No story sleeps: it waits for a
 * condition. When it ends, however that is, its browsers end.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { createInterface } from "node:readline";

// Not `import`, which would not look where NODE_PATH says.
const { chromium } = createRequire(import.meta.url)("playwright-core");

const EXECUTABLE = "/usr/bin/chromium";
/** Longer than anything takes on a busy machine: after this a story fails instead of hanging. */
const PATIENCE = 300_000;
const ARGUMENTS = [
  "--headless",
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--disable-dev-shm-usage",
  "--no-first-run",
  "--no-default-browser-check",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--password-store=basic",
  // A page that nobody looks at is to be as quick as one in front.
  "--disable-background-timer-throttling",
  "--disable-backgrounding-occluded-windows",
  "--disable-renderer-backgrounding",
  // It has nothing to look for beyond this machine.
  "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
  "--remote-debugging-port=0",
];

export const [url, directory] = process.argv.slice(2);
rmSync(directory, { recursive: true, force: true });
mkdirSync(directory, { recursive: true });

const profiles = new Set();
const running = new Set();
process.on("exit", () => {
  for (const browser of running) browser.signal("SIGKILL");
});

export class Browser {
  #process;
  #connection;

  /** A browser that nobody has used, unless there was one of this name before: then it is that one, come back. */
  static async launch(name, { size = [1100, 760], colors = "light" } = {}) {
    const browser = new Browser();
    browser.profile = join(directory, `profile-${name}`);
    profiles.add(browser.profile);
    const own = [`--user-data-dir=${browser.profile}`, `--window-size=${size}`, "about:blank"];
    // A group of its own, so that its helpers end with it.
    browser.#process = spawn(EXECUTABLE, [...ARGUMENTS, ...own], { detached: true, stdio: ["ignore", "ignore", "pipe"] });
    running.add(browser);
    const endpoint = await soon(browser.#endpoint(), `${name}'s browser`);
    browser.#connection = await chromium.connectOverCDP(endpoint, { timeout: PATIENCE });
    const [context] = browser.#connection.contexts();
    context.setDefaultTimeout(PATIENCE);
    browser.page = context.pages()[0] ?? (await context.newPage());
    browser.page.on("pageerror", (error) => console.log(`${name}: ${error}`));
    await browser.page.setViewportSize({ width: size[0], height: size[1] });
    await browser.page.emulateMedia({ colorScheme: colors });
    return browser;
  }

  async #endpoint() {
    const said = [];
    for await (const line of createInterface(this.#process.stderr)) {
      said.push(line);
      const [, endpoint] = line.match(/^DevTools listening on (.*)$/) ?? [];
      if (endpoint) {
        // Whatever else it says must not fill its pipe.
        this.#process.stderr.resume();
        return endpoint;
      }
    }
    throw new Error(`the browser ended:\n${said.join("\n")}`);
  }

  signal(signal) {
    try {
      process.kill(-this.#process.pid, signal);
    } catch {
      // It has ended.
    }
  }

  /** SIGKILL: it can neither send a close frame nor write anything to disk. */
  async kill() {
    const ended = once(this.#process, "exit");
    process.kill(this.#process.pid, "SIGKILL");
    await soon(ended, "the browser's end");
    // Its helpers notice by themselves; the next browser with this profile need not wait for that.
    this.signal("SIGKILL");
    running.delete(this);
  }

  async screenshot(name) {
    await this.page.screenshot({ path: join(directory, `${name}.png`) });
  }
}

const answers = createInterface(process.stdin)[Symbol.asyncIterator]();

async function ask(what) {
  console.log(`host: ${what}`);
  const { value } = await soon(answers.next(), `the host to ${what}`);
  if (value !== "done") throw new Error(`asked to ${what}: ${value}`);
}

export const host = {
  /** SIGKILL; it is gone when this returns. */
  kill: () => ask("kill"),
  /** On the same data and the same ports. */
  restart: () => ask("restart"),
};

async function soon(promise, what) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`waited ${PATIENCE} ms for ${what}`)), PATIENCE);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Looks until there is something to see, which the page cannot tell. */
export async function eventually(what, look) {
  for (const end = Date.now() + PATIENCE; Date.now() < end; ) {
    const seen = await look();
    if (seen) return seen;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`waited ${PATIENCE} ms for ${what}`);
}

/** Tells the story, and ends the process with what came of it. Screenshots stay; profiles if something went wrong. */
export async function story(tell) {
  try {
    await tell();
  } catch (error) {
    console.log(error.stack);
    for (const [n, browser] of [...running].entries()) await browser.screenshot(`failed-${n}`).catch(() => {});
    process.exit(1);
  }
  for (const browser of running) await browser.kill();
  // Helpers of a browser may still be on their way out.
  for (const profile of profiles) rmSync(profile, { recursive: true, force: true, maxRetries: 20, retryDelay: 50 });
  process.exit(0);
}

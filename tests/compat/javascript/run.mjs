// Proof that a class written for Durable Objects runs unchanged: one source, on workerd and on Holdfast, gives the same
// answers to the same requests.
//
//   npm ci && node run.mjs --holdfast BINARY [--only SCRIPT]
//
// Prints each difference; the exit code is 1 if there is one.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

import esbuild from "esbuild";
import workerd from "workerd";

import { OWN, SCRIPTS, TIMED } from "./script.mjs";

const HERE = dirname(fileURLToPath(import.meta.url));
const CLASSES = {
  counter: "Counter",
  web: "Web",
  kv: "Kv",
  sql: "Sql",
  alarms: "Alarms",
  programs: "Programs",
  refusals: "Refusals",
  transactions: "Transactions",
  interleaving: "Interleaving",
  chat: "Chat",
  waits: "Waits",
};

const { values: options } = parseArgs({
  options: { holdfast: { type: "string", default: "holdfast" }, only: { type: "string" } },
});
process.chdir(HERE);
const scratch = mkdtempSync(join(tmpdir(), "holdfast-compat-"));
const running = [];
let failures = 0;
try {
  // Both have started, or failed, before what runs is ended.
  const started = await Promise.allSettled([startWorkerd(), startHoldfast()]);
  const hosts = started.map(({ value, reason }) => {
    if (reason !== undefined) throw reason;
    return value;
  });
  const chosen = (scripts) => Object.entries(scripts).filter(([name]) => [undefined, name].includes(options.only));
  for (const [name, script] of chosen(SCRIPTS)) {
    const [theirs, ours] = await Promise.all(hosts.map((host) => script(host)));
    failures += compare(name, theirs, ours);
  }
  for (const [name, script] of chosen(OWN)) failures += compare(name, ...(await script(hosts[1])));
  for (const [name, script] of chosen(TIMED)) failures += await compareTimed(name, script, hosts);
} finally {
  for (const child of running) child.kill("SIGKILL");
  rmSync(scratch, { recursive: true });
}
console.log(failures === 0 ? "all answers are equal" : `${failures} answers differ`);
process.exit(failures === 0 ? 0 : 1);

function compare(name, theirs, ours) {
  let different = 0;
  for (let i = 0; i < Math.max(theirs.length, ours.length); i++) {
    try {
      assert.deepEqual(ours[i], theirs[i]);
    } catch (error) {
      different += 1;
      console.log(`${name}, answer ${i + 1}: Holdfast's is "actual", workerd's is "expected"\n${error.message}\n`);
    }
  }
  console.log(`${different === 0 ? "ok    " : "DIFFER"} ${name}: ${theirs.length} answers`);
  return different;
}

/** Compares programs, and those that differ again with more time. */
async function compareTimed(name, { count, units, run }, hosts) {
  let seeds = Array.from({ length: count }, (_, index) => index + 1);
  for (const unit of units) {
    const [theirs, ours] = await Promise.all(hosts.map((host) => run(host, seeds, unit)));
    const isLast = unit === units.at(-1);
    const differing = seeds.map((_, index) => index).filter((index) => !equal(theirs[index], ours[index]));
    console.log(`${name}: ${differing.length} of ${seeds.length} programs differ at ${unit} ms`);
    if (differing.length === 0 || isLast) {
      const only = (list) => differing.map((index) => list[index]);
      return compare(name, only(theirs), only(ours));
    }
    seeds = differing.map((index) => seeds[index]);
  }
}

function equal(one, other) {
  try {
    assert.deepEqual(one, other);
    return true;
  } catch {
    return false;
  }
}

async function startWorkerd() {
  const { outputFiles } = await esbuild.build({
    entryPoints: ["src/worker.js"],
    bundle: true,
    write: false,
    format: "esm",
    supported: { decorators: false },
    external: ["cloudflare:workers"],
  });
  const port = await freePort();
  const storage = join(scratch, "workerd");
  mkdirSync(storage);
  writeFileSync(join(scratch, "worker.js"), outputFiles[0].text);
  const list = (each) => Object.entries(CLASSES).map(each).join(", ");
  writeFileSync(
    join(scratch, "workerd.capnp"),
    `using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [(name = "main", worker = .main), (name = "storage", disk = (path = "${storage}", writable = true))],
  sockets = [(name = "http", address = "127.0.0.1:${port}", http = (), service = "main")],
);
const main :Workerd.Worker = (
  modules = [(name = "worker", esModule = embed "worker.js")],
  compatibilityDate = "2026-10-01",
  durableObjectNamespaces = [${list(([key, name]) => `(className = "${name}", uniqueKey = "${key}", enableSql = true)`)}],
  durableObjectStorage = (localDisk = "storage"),
  bindings = [${list(([key, name]) => `(name = "${key}", durableObjectNamespace = "${name}")`)}],
);
`,
  );
  start(workerd.default ?? workerd, ["serve", join(scratch, "workerd.capnp")]);
  const base = `http://127.0.0.1:${port}`;
  await until(() =>
    fetch(`${base}/counter/ready/`).then(
      ({ ok }) => ok,
      () => false,
    ),
  );
  // It drops an idle object only after ten seconds; a script that passes without that is sufficient here.
  return { base, sleep: async () => {} };
}

async function startHoldfast() {
  const building = Object.entries(CLASSES).map(async ([key, name]) => {
    const out = join(scratch, `${key}.wasm`);
    await finish(
      start(process.execPath, [
        "node_modules/holdfast/build.mjs",
        "--entry",
        "src/worker.js",
        "--class",
        name,
        "--out",
        out,
      ]),
    );
    return [key, out];
  });
  const components = Promise.all(building);
  // Reported below, where it is awaited; without this a build that fails before that would end the process at once.
  components.catch(() => {});
  const data = join(scratch, "holdfast");
  const serve = ["serve", "--json", "--data", data, "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
  const [line] = await once(createInterface(start(options.holdfast, serve, "pipe").stdout), "line");
  const ready = JSON.parse(line);
  const server = ["--server", `http://${ready.admin}`, "--data", data];
  for (const [key, file] of await components) {
    await finish(start(options.holdfast, ["deploy", file, "--class", key, ...server]));
  }
  const sleep = (...object) => finish(start(options.holdfast, ["objects", "evict", ...object, ...server]));
  return { base: `http://${ready.data}`, sleep };
}

function start(command, args, stdout = "ignore") {
  const child = spawn(command, args, {
    stdio: ["ignore", stdout, "inherit"],
    env: { ...process.env, HOLDFAST_LOG: "error" },
  });
  running.push(child);
  return child;
}

async function finish(child) {
  const [code] = await once(child, "exit");
  if (code !== 0) throw new Error(`${child.spawnargs.join(" ")} ended with ${code}`);
}

async function freePort() {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  return port;
}

async function until(condition) {
  for (const deadline = Date.now() + 300_000; !(await condition());) {
    if (Date.now() > deadline) throw new Error("workerd does not answer");
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

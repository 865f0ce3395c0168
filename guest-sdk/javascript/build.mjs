#!/usr/bin/env node
// Builds a class to a component: bundles it with the SDK, asks the bundle which handlers the class has, and has the
// engine make a snapshot of itself with the bundle evaluated.
//
//   holdfast-build [--entry FILE] [--out FILE] [--class NAME] [--engine quickjs|starlingmonkey]
//
// In the project's directory. `--entry` is package.json's "main", or src/index.ts or src/index.js. `--out` is
// dist/class.wasm. `--class` is needed when the module exports several. `--engine` is package.json's "holdfast":
// {"engine"}, or quickjs. Diagnostics go to standard error; the exit code is 1 if there is no component.

import { spawnSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { SourceMap, createRequire } from "node:module";
import { tmpdir } from "node:os";
import { basename, dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

import { withStackLimit } from "./engine.mjs";

// The tools are the project's, at the versions that it pins.
const require = createRequire(resolve("package.json"));
const esbuild = require("esbuild");

const SDK = dirname(fileURLToPath(import.meta.url));
/** The contract lies beside the SDK, in the repository as in a project's copy. */
const CONTRACT = resolve(SDK, "../../wit");

/**
 * What QuickJS runs is everything of ES2025 but its own job queue, so what would need that is turned into generators.
 * Decorators no engine has yet.
 */
const LOWERED = {
  "async-await": false,
  "async-generator": false,
  "for-await": false,
  using: false,
  decorators: false,
  "top-level-await": false,
};

function options() {
  const { values } = parseArgs({
    options: {
      entry: { type: "string" },
      out: { type: "string", default: "dist/class.wasm" },
      class: { type: "string" },
      engine: { type: "string" },
    },
  });
  const manifest = existsSync("package.json") ? JSON.parse(readFileSync("package.json", "utf8")) : {};
  const engine = values.engine ?? manifest.holdfast?.engine ?? "quickjs";
  if (!Object.hasOwn(ENGINES, engine))
    throw new Error(`there is no engine ${engine}; use ${Object.keys(ENGINES).join(" or ")}`);
  const entry = values.entry ?? manifest.main ?? ["src/index.ts", "src/index.js"].find((file) => existsSync(file));
  if (!entry)
    throw new Error(
      'there is no src/index.ts or src/index.js; name the module with --entry or as "main" in package.json',
    );
  if (!existsSync(entry)) throw new Error(`there is no ${entry}`);
  return { ...values, engine: ENGINES[engine], entry: resolve(entry), out: resolve(values.out) };
}

async function build({ entry, out, class: name, engine }) {
  const handlers = await handlersOf(entry, name);
  const bundle = await bundled(
    `import "holdfast:sdk/globals";
     import { serve } from "holdfast:sdk/serve";
     import * as module from ${JSON.stringify(entry)};
     export const { fetchHandler, alarmHandler, laterHandler, websocketHandler } = serve(module, ${JSON.stringify(name)});`,
    engine.bundling,
  );
  mkdirSync(dirname(out), { recursive: true });

  const scratch = mkdtempSync(join(tmpdir(), "holdfast-"));
  try {
    const world = join(scratch, "wit");
    writeWorld(world, handlers, engine.exports);
    writeFileSync(out, await engine.componentize(bundle, world, scratch));
  } finally {
    rmSync(scratch, { recursive: true });
  }
}

/** One module with all that the source imports. Interfaces of the contract stay imports. */
async function bundled(source, more) {
  const { outputFiles } = await esbuild.build({
    sourcemap: "external",
    outfile: "class.js",
    stdin: { contents: source, resolveDir: process.cwd() },
    bundle: true,
    write: false,
    format: "esm",
    platform: "neutral",
    target: "esnext",
    mainFields: ["module", "main"],
    conditions: ["workerd", "worker", "browser"],
    define: { "process.env.NODE_ENV": '"production"' },
    external: ["holdfast:object/*", "wasi:*"],
    plugins: [sdk],
    ...more,
  });
  const [map, code] = outputFiles.map(({ text }) => text);
  return `${code}globalThis[Symbol.for("holdfast.sources")] = ${JSON.stringify(sources(code, JSON.parse(map)))};\n`;
}

/** The table for `src/stack.js`. Lines that are not the class's, nor of what it imports, have no source. */
function sources(code, map) {
  const table = [];
  const places = new SourceMap(map);
  code.split("\n").forEach((text, index) => {
    const { originalLine, originalSource: source } = places.findEntry(index, text.search(/\S|$/));
    const mine = source && source !== "<stdin>" && !resolve(source).startsWith(join(SDK, "src"));
    const [line, file] = mine ? [originalLine + 1, source] : [0, null];
    const last = table.at(-1);
    const follows = last?.[2] === file && (file === null || last[1] + index + 1 - last[0] === line);
    if (!follows) table.push([index + 1, line, file]);
  });
  return table;
}

/** Where the SDK's own modules are, under each of their names. */
const sdk = {
  name: "holdfast",
  setup(build) {
    build.onResolve({ filter: /^(holdfast|cloudflare:workers)$/ }, () => ({ path: join(SDK, "src/index.js") }));
    build.onResolve({ filter: /^holdfast:sdk\// }, ({ path }) => ({ path: join(SDK, "src", `${basename(path)}.js`) }));
    build.onResolve({ filter: /^(cloudflare|node):/ }, ({ path }) => ({
      errors: [{ text: `${path} is not there on this host` }],
    }));
  },
};

/**
 * What esbuild runs `async` functions with, and what is there instead. Lines stay, because the table of sources counts
 * them.
 */
const OUR_ASYNC = "var __async, __useAsync = (run) => (__async = run);";
const ASYNC = /^var __async = \(__this, __arguments, generator\) => \{\n[^]*?\n\};\n/m;

/**
 * Each engine: what its components export beside the class's handlers, how a class is bundled for it, and what makes a
 * component of the bundle.
 */
const ENGINES = {
  quickjs: {
    exports: ["websocket-handler", "later-handler"],
    bundling: { supported: LOWERED },
    async componentize(bundle, witPath) {
      const jsSource = bundle.replace(ASYNC, (own) => OUR_ASYNC + own.replace(/.+/g, ""));
      const { component } = await require("componentize-qjs").componentize({
        witPath,
        world: "class",
        jsSource,
        sync: true,
      });
      return withStackLimit(component);
    },
  },
  starlingmonkey: {
    exports: ["websocket-handler"],
    bundling: { supported: LOWERED, plugins: [starlingmonkey(), sdk], external: [] },
    async componentize(source, witPath, scratch) {
      const options = {
        sourcePath: join(scratch, "class.js"),
        witPath,
        worldName: "class",
        disableFeatures: ["http", "fetch-event"],
      };
      writeFileSync(options.sourcePath, source);
      const program = `import { componentize } from "@bytecodealliance/componentize-js";
        try {
          const { component } = await componentize(${JSON.stringify(options)});
          process.getBuiltinModule("node:fs").writeFileSync(3, component);
        } catch ({ message }) {
          console.error(message);
          process.exitCode = 1;
        }`;
      return evaluated(program, "StarlingMonkey cannot be given the class; see above");
    },
  },
};

/** Puts modules of `src/starlingmonkey` in the places of those of the same names, and adapts the host's interfaces. */
function starlingmonkey() {
  const own = join(SDK, "src/starlingmonkey");
  return {
    name: "starlingmonkey",
    setup(build) {
      build.onResolve({ filter: /^raw:/ }, ({ path }) => ({ path: path.slice(4), external: true }));
      build.onResolve({ filter: /^(holdfast:object\/|wasi:)/ }, ({ path }) => ({ path, namespace: "host" }));
      build.onLoad({ filter: /.*/, namespace: "host" }, ({ path }) => ({
        contents: `import * as raw from "raw:${path}";
          import { adapt } from ${JSON.stringify(join(own, "host.js"))};
          export default adapt(raw, ${JSON.stringify(/\/(.*)@/.exec(path)[1])});`,
        resolveDir: SDK,
      }));
      build.onResolve(
        { filter: /^(holdfast:sdk|\.\.?)\/(globals|jobs|promise|turn)(\.js)?$/ },
        ({ path, importer }) => {
          if (path.startsWith(".") && !importer.startsWith(join(SDK, "src"))) return undefined;
          return { path: join(own, `${basename(path, ".js")}.js`) };
        },
      );
    },
  };
}

/** Stands in for the host while Node.js evaluates the module: nothing may be called before the first turn anyway. */
const noHost = {
  name: "no-host",
  setup(build) {
    build.onResolve({ filter: /^(holdfast:object\/|wasi:)/ }, ({ path }) => ({ path, namespace: "no-host" }));
    build.onLoad({ filter: /.*/, namespace: "no-host" }, () => ({ contents: "export default {}" }));
  },
};

/**
 * Which handlers the class has: its module is evaluated by Node.js, in a process of its own, and its prototype looked
 * at.
 */
async function handlersOf(entry, name) {
  const probe = await bundled(
    `import "holdfast:sdk/node";
     import "holdfast:sdk/globals";
     import { classOf, handlersOf } from "holdfast:sdk/select";
     import * as module from ${JSON.stringify(entry)};
     const answer = () => {
       try {
         return { handlers: handlersOf(classOf(module, ${JSON.stringify(name)})) };
       } catch ({ message }) {
         return { message };
       }
     };
     process.getBuiltinModule("node:fs").writeSync(3, JSON.stringify(answer()));`,
    // Node.js 20 knows less of the language than the engines.
    { target: "node20", supported: { decorators: false }, plugins: [noHost, sdk], external: [] },
  );
  const { handlers, message } = JSON.parse(evaluated(probe, "the module cannot be evaluated; see above"));
  if (message) throw new Error(message);
  return handlers;
}

/**
 * What a module writes to file 3 when Node.js evaluates it, in a process of its own and with the project's packages.
 */
function evaluated(module, complaint) {
  const stdio = ["pipe", 2, 2, "pipe"];
  const { status, output } = spawnSync(process.execPath, ["--input-type=module"], {
    input: module,
    stdio,
    maxBuffer: 2 ** 28,
  });
  if (status !== 0) throw new Error(complaint);
  return output[3];
}

/** The contract's package with a world for this class: the imports of every class, and the exports of its handlers. */
function writeWorld(directory, handlers, more) {
  cpSync(CONTRACT, directory, { recursive: true });
  cpSync(join(SDK, "wit"), join(directory, "deps"), { recursive: true });
  const exports = ["fetch-handler", ...more];
  if (handlers.includes("alarm")) exports.push("alarm-handler");
  const world = `package holdfast:object@0.2.0;
world class {
    include imports;
    import wasi:cli/environment@0.2.0;
    import wasi:clocks/monotonic-clock@0.2.0;
    import wasi:random/random@0.2.0;
${exports.map((name) => `    export ${name};\n`).join("")}}
`;
  writeFileSync(join(directory, "class.wit"), world);
}

try {
  await build(options());
} catch (error) {
  // esbuild has printed its messages with the lines they are about.
  if (!error.errors) console.error(`error: ${error.message}`);
  process.exitCode = 1;
}

// A transform of asc: the class's handlers become exports of the contract.
//
// A class is the functions that its entry file exports under the names below. `exports.ts` has a function of the canonical ABI for each, which
// calls `class_<name>`; here that name is given to the class's function, and what the class has is exported as the contract calls it. All
// other exports go, and with them whatever nothing else uses: a class without an alarm handler has none.
import { readFileSync } from "node:fs";

const EXPORTS = "~lib/holdfast/exports";
/** What kind of source asc takes an entry file for. */
const USER_ENTRY = 1;

/**
 * By interface of the contract: what a class calls its handlers, and what the contract calls them. Who has one of an interface exports all of it,
 * and those that the class lacks do nothing.
 */
const HANDLERS = {
  "fetch-handler": { fetch: "fetch" },
  "init-handler": { init: "init" },
  "alarm-handler": { alarm: "alarm" },
  "websocket-handler": { webSocketMessage: "message", webSocketClose: "close", webSocketError: "error" },
  "later-handler": { resume: "resume" },
};

/** An error of the class's, without a stack of ours. */
function fail(message) {
  throw Object.assign(new Error(message), { stack: message });
}

export default class Handlers {
  afterParse(parser) {
    const text = readFileSync(new URL("./exports.ts", import.meta.url), "utf8");
    parser.parseFile(text, `${EXPORTS}.ts`, true);
  }

  afterInitialize(program) {
    const entries = program.sources.filter((source) => source.sourceKind === USER_ENTRY && !source.internalPath.startsWith("~lib/"));
    const files = entries.map((source) => program.filesByName.get(source.internalPath));
    const handler = (name) => files.map((file) => file.lookupExport(name)).find(Boolean);
    this.interfaces = Object.entries(HANDLERS).filter(([, names]) => Object.keys(names).some(handler));
    if (!this.interfaces.length) {
      fail(`${entries[0]?.normalizedPath} exports no handler; the first is \`export function fetch(request: Request): Response\``);
    }
    for (const name of Object.values(HANDLERS).flatMap(Object.keys)) {
      if (handler(name)) program.elementsByName.set(`class_${name}`, handler(name));
    }
  }

  afterCompile(module) {
    const { ExternalFunction } = this.binaryen;
    for (let index = module.getNumExports() - 1; index >= 0; index--) {
      const { name, kind } = this.binaryen.getExportInfo(module.getExportByIndex(index));
      if (kind === ExternalFunction && !name.startsWith("cabi_realloc") && name !== "_initialize") module.removeExport(name);
    }
    for (const [handler, names] of this.interfaces) {
      for (const [name, called] of Object.entries(names)) {
        const exported = `holdfast:object/${handler}@0.2.0#${called}`;
        module.addFunctionExport(`${EXPORTS}/${name}`, exported);
        module.addFunctionExport(`${EXPORTS}/finish`, `cabi_post_${exported}`);
      }
    }
  }
}

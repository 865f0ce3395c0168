// The program of workerd: all classes, and a worker that routes to them by Holdfast's paths.

export { Alarms } from "./alarms.js";
export { Chat } from "./chat.js";
export { Counter } from "./counter.js";
export { Interleaving } from "./interleaving.js";
export { Kv } from "./kv.js";
export { Programs } from "./programs.js";
export { Refusals } from "./refusals.js";
export { Sql } from "./sql.js";
export { Transactions } from "./transactions.js";
export { Waits } from "./waits.js";
export { Web } from "./web.js";

export default {
  async fetch(request, env) {
    const url = new URL(request.url);
    const [, className, name, ...rest] = url.pathname.split("/");
    const namespace = env[className];
    url.pathname = `/${rest.join("/")}`;
    return namespace.get(namespace.idFromName(name)).fetch(new Request(url, request));
  },
};

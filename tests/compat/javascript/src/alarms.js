import { DurableObject } from "cloudflare:workers";

import { outcome, show } from "./show.js";

export class Alarms extends DurableObject {
  async fetch(request) {
    const { pathname, searchParams } = new URL(request.url);
    const { storage } = this.ctx;
    if (pathname === "/set") {
      const due = Date.now() + Number(searchParams.get("in"));
      await storage.setAlarm(new Date(due));
      return Response.json((await storage.getAlarm()) === due || due < Date.now());
    }
    if (pathname === "/delete") await storage.deleteAlarm();
    if (pathname === "/refused") {
      return Response.json([
        (await outcome(() => storage.setAlarm(0))).thrown !== undefined,
        (await outcome(() => storage.setAlarm(-5))).thrown !== undefined,
      ]);
    }
    if (pathname === "/fail") await storage.put("failures", Number(searchParams.get("times")));
    return Response.json({ set: (await storage.getAlarm()) !== null, log: show((await storage.get("log")) ?? []) });
  }

  async alarm(info) {
    const failures = (await this.ctx.storage.get("failures")) ?? 0;
    if (info.retryCount < failures) throw new Error("not yet");
    const log = (await this.ctx.storage.get("log")) ?? [];
    log.push({ retries: info.retryCount, isRetry: info.isRetry, pending: await this.ctx.storage.getAlarm() });
    await this.ctx.storage.put("log", log);
    if (log.length === 2) await this.ctx.storage.setAlarm(Date.now() + 10);
  }
}

// Durable objects in AssemblyScript: all that a class imports. README.md has the rest.
export { Level, Field, log } from "./log";
export { Entry, ListOptions, Listing, kv } from "./key-value";
export { Failure, Header, Request, Response } from "./http";
export { Debounce, Deferred, late } from "./late";
export { Refusal, refusals } from "./refusal";
export { decode, decodePercent, encode } from "./text";
export { object } from "./object";
export { Savepoint, alarms, storage } from "./storage";
export { Rows, Type, Value, sql } from "./sql";
export { Message, Socket, sockets } from "./websocket";

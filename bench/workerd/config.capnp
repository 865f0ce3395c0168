# Durable Objects with SQLite storage on local disk. The driver gives the address (`--socket-addr http=…`)
# and the directory (`--directory-path disk=…`).
using Workerd = import "/workerd/workerd.capnp";

const config :Workerd.Config = (
  services = [
    (name = "main", worker = .main),
    (name = "disk", disk = (writable = true)),
  ],
  sockets = [(name = "http", http = (), service = "main")],
);

const main :Workerd.Worker = (
  modules = [(name = "worker.js", esModule = embed "worker.js")],
  compatibilityDate = "2026-10-01",
  durableObjectNamespaces = [
    (className = "Hello", uniqueKey = "hello", enableSql = true),
    (className = "Number", uniqueKey = "number", enableSql = true),
    (className = "Socket", uniqueKey = "socket", enableSql = true),
  ],
  durableObjectStorage = (localDisk = "disk"),
  bindings = [
    (name = "HELLO", durableObjectNamespace = "Hello"),
    (name = "NUMBER", durableObjectNamespace = "Number"),
    (name = "SOCKET", durableObjectNamespace = "Socket"),
  ],
);

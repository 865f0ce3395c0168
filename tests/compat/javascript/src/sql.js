import { DurableObject } from "cloudflare:workers";

import { outcome, show } from "./show.js";

export class Sql extends DurableObject {
  constructor(ctx, env) {
    super(ctx, env);
    this.sql = ctx.storage.sql;
    this.sql
      .exec(`CREATE TABLE IF NOT EXISTS person (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, age INTEGER, photo BLOB);
      CREATE INDEX IF NOT EXISTS person_age ON person (age)`);
  }

  async fetch(request) {
    const scenario = new URL(request.url).pathname.slice(1);
    return Response.json(show(await this[scenario](this.sql)));
  }

  async rows(sql) {
    sql.exec("DELETE FROM person");
    for (const [name, age] of [
      ["ann", 30],
      ["bob", null],
      ["cy", 25],
    ])
      sql.exec("INSERT INTO person (name, age) VALUES (?, ?)", name, age);
    const cursor = sql.exec("SELECT name, age FROM person ORDER BY name");
    const first = cursor.next();
    return {
      columns: cursor.columnNames,
      first,
      rest: cursor.toArray(),
      done: cursor.next(),
      raw: [...sql.exec("SELECT id > 0, name FROM person ORDER BY id").raw()],
      rawArray: sql.exec("SELECT name FROM person ORDER BY id").raw().toArray(),
      loop: Array.from(sql.exec("SELECT name FROM person ORDER BY age DESC"), ({ name }) => name),
      one: sql.exec("SELECT count(*) AS n, max(age) AS oldest FROM person").one(),
      updated: sql
        .exec("UPDATE person SET age = age + 1 WHERE age > ?2 AND name <> ?1 RETURNING name, age", "zoe", 26)
        .toArray(),
      numbered: sql.exec("SELECT ?2 AS b, ?1 AS a", "first", "second").one(),
      empty: sql.exec("SELECT * FROM person WHERE 0").toArray(),
    };
  }

  async types(sql) {
    const values = [
      null,
      undefined,
      true,
      7,
      0.5,
      1e300,
      "aü🦀",
      "",
      new Uint8Array([0, 255]),
      new Uint8Array([1, 2, 3]).buffer,
      -7,
      2 ** 40,
    ];
    const back = values.map((value) => sql.exec("SELECT ? AS v", value).one().v);
    sql.exec("CREATE TABLE IF NOT EXISTS typed (i INTEGER, r REAL, t TEXT, b BLOB)");
    sql.exec("INSERT INTO typed VALUES (?, ?, ?, ?)", 5, 5, "5", new Uint8Array([5]));
    const kinds = sql.exec("SELECT typeof(i), typeof(r), typeof(t), typeof(b), i, r, t, b FROM typed").raw().toArray();
    const dynamic = sql.exec("SELECT typeof(?1) AS t, ?1 / 2 AS half, 'x' || ?1 AS text", 7).one();
    return { back, kinds, dynamic, json: sql.exec("SELECT json_extract(?, '$.a[1]') AS x", '{"a":[1,2]}').one() };
  }

  async errors(sql) {
    sql.exec("INSERT OR IGNORE INTO person (name) VALUES ('dup')");
    const failed = [];
    for (const [query, ...bindings] of [
      ["INSERT INTO person (name) VALUES ('dup')"],
      ["INSERT INTO person (name) VALUES (NULL)"],
      ["SELECT * FROM nowhere"],
      ["BEGIN"],
      ["SELEC 1"],
      ["SELECT ?"],
      ["SELECT 1", 2],
      [""],
    ]) {
      failed.push((await outcome(() => sql.exec(query, ...bindings).toArray())).thrown);
    }
    return {
      // Both report the same; texts that are not SQLite's differ.
      same: failed.slice(0, 3),
      all: failed.every((message) => typeof message === "string"),
      none: await outcome(() => sql.exec("SELECT 1 WHERE 0").one()),
      several: await outcome(() => sql.exec("SELECT 1 UNION SELECT 2").one()),
      still: sql.exec("SELECT count(*) AS n FROM person WHERE name = 'dup'").one(),
    };
  }

  async large(sql) {
    sql.exec("CREATE TABLE IF NOT EXISTS many (n INTEGER); DELETE FROM many");
    sql.exec(
      "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 5000) INSERT INTO many SELECT n FROM c",
    );
    let sum = 0;
    for (const { n } of sql.exec("SELECT n FROM many ORDER BY n")) sum += n;
    return { sum, size: sql.databaseSize > 4096 };
  }

  async transaction(sql) {
    const storage = this.ctx.storage;
    sql.exec("DELETE FROM person");
    const failed = await outcome(() =>
      storage.transactionSync(() => {
        sql.exec("INSERT INTO person (name) VALUES ('lost')");
        throw new Error("no");
      }),
    );
    storage.transactionSync(() => sql.exec("INSERT INTO person (name) VALUES ('found')"));
    await outcome(() =>
      storage.transaction(async () => {
        sql.exec("INSERT INTO person (name) VALUES ('lost, too')");
        await null;
        throw new Error("no");
      }),
    );
    return { failed, names: sql.exec("SELECT name FROM person").toArray() };
  }
}

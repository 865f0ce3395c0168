//! SQL that uses as much as it can get.

/// A query that counts without end.
pub const ENDLESS: &str = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT count(*) FROM c";

/// Functions of which one call works for long on large values.
const LONG_CALLS: [&str; 10] = [
    "instr(printf('%.*c', 1900000, 'a'), printf('%.*c', 900000, 'a') || 'b')",
    "replace(printf('%.*c', 1900000, 'a'), printf('%.*c', 900000, 'a') || 'b', 'c')",
    "printf('%.*c', 1900000, 'a') LIKE '%a%a%a%a%a%a%b'",
    "printf('%.*c', 1900000, 'a') GLOB '*a*a*a*a*a*a*b'",
    "trim(printf('%.*c', 1900000, 'a'), printf('%.*c', 1900000, 'b') || 'a')",
    "json_valid(printf('%.*c', 1900000, '['))",
    "json_array_length('[' || replace(hex(zeroblob(400000)), '00', '[],') || '1]')",
    "json_patch('{' || printf('%.*c', 900, ' ') || '}', json_object('a', printf('%.*c', 900000, 'x')))",
    "hex(randomblob(900000))",
    "quote(randomblob(900000))",
];

/// Returns statements that make these calls without end.
pub fn long_calls() -> Vec<String> {
    let endless = |call| {
        format!(
            "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT sum(length({call} || x)) FROM c"
        )
    };
    LONG_CALLS.map(endless).into()
}

/// Sorters, sets and materialisations that grow without end.
pub const GROWING: [&str; 5] = [
    "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) \
     SELECT count(*) FROM (SELECT x, randomblob(1000) AS b FROM c ORDER BY b)",
    "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT count(DISTINCT randomblob(1000)) FROM c",
    "WITH RECURSIVE c(x) AS (SELECT randomblob(1000) UNION SELECT randomblob(1000) FROM c) SELECT count(*) FROM c",
    "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c), \
     m AS MATERIALIZED (SELECT x, randomblob(1000) AS b FROM c) SELECT count(*) FROM m AS a, m AS b",
    "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) \
     SELECT x % 1000000, group_concat(randomblob(1000)) FROM c GROUP BY 1",
];

/// A query whose row has 94 values of almost 2 MB, which a cursor holds.
pub fn huge_rows() -> String {
    let values: Vec<_> = (0..94).map(|i| format!("printf('%.*c', 1900000, 'x') AS a{i}")).collect();
    let sum: Vec<_> = (0..94).map(|i| format!("length(a{i})")).collect();
    // Two rows, so that the cursor stays open after the first one.
    format!("SELECT a0, {} FROM (SELECT {}), (SELECT 1 UNION ALL SELECT 2)", sum.join(" + "), values.join(", "))
}

/// Returns statements as deep as the limits allow: columns that refer to each other, views in views, nested
/// expressions.
pub fn deep() -> Vec<String> {
    let nested = |inner: String, depth: usize| format!("{}{inner}{}", "-(".repeat(depth), ")".repeat(depth));
    let columns: Vec<_> = (1..99).map(|i| format!("g{i} AS ({})", nested(format!("g{}", i - 1), 45))).collect();
    let selects = (0..200).fold("SELECT 1 AS x".to_owned(), |inner, _| format!("SELECT x FROM ({inner})"));
    let json = format!("SELECT json('{}{}')", "[".repeat(40_000), "]".repeat(40_000));
    vec![
        format!("CREATE TABLE gg (g0 INT, {})", columns.join(", ")),
        selects,
        json,
        format!("SELECT {}", nested("1".into(), 5_000)),
        format!("SELECT {}1", "1 + ".repeat(20_000)),
        format!("SELECT {}1", "NOT ".repeat(20_000)),
        format!("SELECT {} 1", "SELECT 1 UNION ALL ".repeat(5_000)),
    ]
}

//! What the fuzzer tries of the gateway; see [`crate::fuzz`].

use http::Uri;

use super::admin::sql;
use super::path::{self, Target};
use crate::base::{ClassKey, ClassName, Table, Value};

/// A request's path: what the guest sees, put behind the prefix, is what was sent (a missing slash aside), and a name
/// stands for the object that its id stands for.
pub fn path(input: &[u8]) {
    let key = ClassKey::new("key");
    let Ok(uri) = Uri::try_from(input) else { return };
    let Some(target) = Target::of(uri.path()) else { return };
    let Ok(class) = ClassName::parse(target.class) else { return };
    let Ok(address) = path::object(class.clone(), &key, target.object) else { return };
    let (whole, seen) = (uri.path_and_query().map_or("/", |whole| whole.as_str()), path::below(&uri, target.prefix));
    let seen = seen.to_string();
    assert!(target.prefix.to_owned() + &seen == whole || target.prefix.to_owned() + &seen[1..] == whole);
    let by_id = path::object(class, &key, &format!("@{}", address.id)).expect("an id that the host made");
    assert_eq!(by_id.id, address.id);
}

/// The body of a query: parameters that are taken come back as they were, as values of an answer.
pub fn query(input: &[u8]) {
    let Ok(query) = sql::read(input) else { return };
    // SQLite has no NaN, so no answer has one.
    let exact = |value: &Value| !matches!(value, Value::Real(real) if real.is_nan());
    let row: Vec<Value> = query.parameters.into_iter().filter(exact).collect();
    let table =
        Table { columns: vec![], rows: vec![row.clone()], changes: 0, last_insert_rowid: i64::MIN, truncated: false };
    let answer = serde_json::to_value(sql::answer(table)).expect("an answer has a JSON form");
    let body = serde_json::json!({ "sql": "", "parameters": answer["rows"][0] });
    let Ok(again) = sql::read(body.to_string().as_bytes()) else { panic!("{body} is refused") };
    assert_eq!(again.parameters, row);
}

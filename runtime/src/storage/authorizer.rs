//! The rules for guests' SQL: one decision for each action that SQLite reports while it compiles a statement.
//!
//! Everything is refused that is not named here. The host's own statements are allowed at their top level only: a
//! trigger of the guest that one of them sets off runs under the guest's rules. The target of a rename is not asked
//! about; `sql` reads the schema after such statements.

use rusqlite::hooks::{AuthAction as Action, AuthContext, TransactionOperation};

/// The decision for SQLite, and what the host notes about the statement.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Allow,
    /// Allowed, and it changes the schema.
    Schema,
    /// Allowed, and it acts when compiled; must not be cached.
    Pragma,
    /// Allowed, and it changes how the connection behaves from now on; must not be cached.
    Setting,
    /// Skipped without an error.
    Ignore,
    /// Refused; contains what was refused.
    Refuse(String),
}

/// Pragmas that describe a table, an index or the whole schema.
const TELLING: [&str; 10] = [
    "table_info",
    "table_xinfo",
    "table_list",
    "index_list",
    "index_info",
    "index_xinfo",
    "foreign_key_list",
    "foreign_key_check",
    "quick_check",
    "optimize",
];
/// Pragmas that may be read and not set.
const READABLE: [&str; 2] = ["data_version", "page_size"];
/// Pragmas that may be set on or off for as long as the instance lives.
const SETTABLE: [&str; 7] = [
    "foreign_keys",
    "defer_foreign_keys",
    "case_sensitive_like",
    "ignore_check_constraints",
    "recursive_triggers",
    "reverse_unordered_selects",
    "legacy_alter_table",
];
/// What such a pragma takes; SQLite would take anything, and most of it for off.
const SWITCHES: [&str; 8] = ["on", "off", "true", "false", "yes", "no", "1", "0"];
/// How SQLite begins the names of indices that it makes itself; the table's name follows.
const AUTOMATIC: &str = "sqlite_autoindex_";
/// Modules of virtual tables; SQLite has more compiled in than is safe to offer.
const MODULES: [&str; 4] = ["fts5", "fts5vocab", "rtree", "rtree_i32"];

/// Decides on one action. `host` if one of the host's own statements is being compiled, `writing` if the turn has a
/// transaction.
pub(super) fn judge(context: &AuthContext<'_>, host: bool, writing: bool) -> Verdict {
    if host && context.accessor.is_none() {
        return Verdict::Allow;
    }
    if context.database_name == Some("temp") && changes_schema(&context.action) {
        return refuse("TEMP objects");
    }
    if let Action::Analyze { table_name } = context.action
        && is_reserved(table_name)
    {
        return Verdict::Ignore; // ANALYZE and PRAGMA optimize go over all tables; they skip the host's.
    }
    if let Some(name) = names(&context.action).into_iter().flatten().find(|name| is_reserved(name)) {
        return refuse(&format!("the name {name}"));
    }
    match context.action {
        Action::Select | Action::Recursive => Verdict::Allow,
        Action::Read { table_name, .. } if table_name.eq_ignore_ascii_case("dbstat") => refuse("dbstat"),
        Action::Read { .. } | Action::Insert { .. } | Action::Update { .. } | Action::Delete { .. } => Verdict::Allow,
        Action::CreateVtable { module_name, .. } | Action::DropVtable { module_name, .. }
            if !is_among(&MODULES, module_name) =>
        {
            refuse(&format!("the module {module_name}"))
        }
        Action::Function { function_name } if is_among(&["load_extension", "fts3_tokenizer"], function_name) => {
            refuse(function_name)
        }
        Action::Function { .. } => Verdict::Allow,
        Action::Pragma { pragma_name, pragma_value } => pragma(pragma_name, pragma_value, writing),
        Action::Transaction { operation } => refuse(transaction(operation)),
        Action::Savepoint { .. } => refuse("SAVEPOINT"),
        Action::CreateTempTable { .. }
        | Action::CreateTempIndex { .. }
        | Action::CreateTempView { .. }
        | Action::CreateTempTrigger { .. } => refuse("TEMP objects"),
        Action::Attach { .. } => refuse("ATTACH"),
        Action::Detach { .. } => refuse("DETACH"),
        Action::Unknown { code: rusqlite::ffi::SQLITE_ATTACH, .. } => refuse("ATTACH"),
        Action::Unknown { code: rusqlite::ffi::SQLITE_DETACH, .. } => refuse("DETACH"),
        ref action if changes_schema(action) => Verdict::Schema,
        _ => refuse("this statement"),
    }
}

/// Whether a name belongs to the host.
pub(super) fn is_reserved(name: &str) -> bool {
    name.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("_hf_"))
}

/// Whether it is the name of a table of the host's, or of an index of one.
pub(super) fn is_hosts(name: &str) -> bool {
    let automatic = name.get(..AUTOMATIC.len()).is_some_and(|start| start.eq_ignore_ascii_case(AUTOMATIC));
    is_reserved(if automatic { &name[AUTOMATIC.len()..] } else { name })
}

fn pragma(name: &str, value: Option<&str>, writing: bool) -> Verdict {
    let refused = || refuse(&format!("PRAGMA {name}"));
    match value {
        Some(value) if is_hosts(value) => refuse(&format!("the name {value}")),
        _ if is_among(&TELLING, name) => Verdict::Pragma,
        None if is_among(&READABLE, name) || is_among(&SETTABLE, name) => Verdict::Pragma,
        // SQLite would ignore it without an error.
        Some(_) if writing && name.eq_ignore_ascii_case("foreign_keys") => {
            refuse("PRAGMA foreign_keys after the turn's first write")
        }
        Some(value) if is_among(&SETTABLE, name) && is_among(&SWITCHES, value) => Verdict::Setting,
        Some(value) if is_among(&SETTABLE, name) => {
            refuse(&format!("PRAGMA {name} = {value}, which is neither on nor off"))
        }
        _ => refused(),
    }
}

fn transaction(operation: TransactionOperation) -> &'static str {
    match operation {
        TransactionOperation::Begin => "BEGIN",
        TransactionOperation::Rollback => "ROLLBACK",
        _ => "COMMIT",
    }
}

fn refuse(what: &str) -> Verdict {
    Verdict::Refuse(what.into())
}

fn is_among(names: &[&str], name: &str) -> bool {
    names.iter().any(|one| one.eq_ignore_ascii_case(name))
}

fn changes_schema(action: &Action<'_>) -> bool {
    matches!(
        action,
        Action::CreateTable { .. }
            | Action::CreateIndex { .. }
            | Action::CreateView { .. }
            | Action::CreateTrigger { .. }
            | Action::CreateVtable { .. }
            | Action::DropTable { .. }
            | Action::DropIndex { .. }
            | Action::DropView { .. }
            | Action::DropTrigger { .. }
            | Action::DropVtable { .. }
            | Action::AlterTable { .. }
            | Action::Reindex { .. }
            | Action::Analyze { .. }
    )
}

/// The names of tables, indices, views and triggers in an action.
fn names<'a>(action: &Action<'a>) -> [Option<&'a str>; 2] {
    match *action {
        Action::CreateIndex { index_name: a, table_name: b }
        | Action::DropIndex { index_name: a, table_name: b }
        | Action::CreateTrigger { trigger_name: a, table_name: b }
        | Action::DropTrigger { trigger_name: a, table_name: b } => [Some(a), Some(b)],
        Action::CreateTable { table_name: a }
        | Action::DropTable { table_name: a }
        | Action::CreateView { view_name: a }
        | Action::DropView { view_name: a }
        | Action::CreateVtable { table_name: a, .. }
        | Action::DropVtable { table_name: a, .. }
        | Action::AlterTable { table_name: a, .. }
        | Action::Reindex { index_name: a }
        | Action::Read { table_name: a, .. }
        | Action::Insert { table_name: a }
        | Action::Update { table_name: a, .. }
        | Action::Delete { table_name: a } => [Some(a), None],
        _ => [None, None],
    }
}

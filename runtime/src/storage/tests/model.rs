//! Key-value storage against a sorted map: random turns that are applied, rolled back or lost in a crash.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

type Model = BTreeMap<String, Vec<u8>>;

#[derive(Debug, Clone)]
enum Op {
    Put(String, Vec<u8>),
    PutMany(Vec<(String, Vec<u8>)>),
    Delete(String),
    DeleteMany(Vec<String>),
    DeleteAll,
    /// Put inside a savepoint, which is kept or rolled back.
    Nested(String, Vec<u8>, bool),
    Get(String),
    List(ListOptions, u32),
}

/// How a turn ends.
#[derive(Debug, Clone, Copy)]
enum End {
    Apply,
    RollBack,
    /// Applied; then the process is killed and the database opened again.
    Restart,
}

fn key() -> impl Strategy<Value = String> {
    "[ab\u{e9}\u{10ffff}]{1,3}"
}

fn op() -> impl Strategy<Value = Op> {
    let value = || prop::collection::vec(any::<u8>(), 0..5_000);
    let some_key = || prop::option::of(key());
    let options = (some_key(), some_key(), some_key(), any::<bool>(), prop::option::of(1..5u32));
    let options = options.prop_map(|(start, end, prefix, reverse, limit)| ListOptions {
        start,
        start_after: None,
        end,
        prefix,
        reverse,
        limit,
    });
    prop_oneof![
        (key(), value()).prop_map(|(key, value)| Op::Put(key, value)),
        prop::collection::vec((key(), value()), 0..5).prop_map(Op::PutMany),
        key().prop_map(Op::Delete),
        prop::collection::vec(key(), 0..5).prop_map(Op::DeleteMany),
        Just(Op::DeleteAll),
        (key(), value(), any::<bool>()).prop_map(|(key, value, keep)| Op::Nested(key, value, keep)),
        key().prop_map(Op::Get),
        (options, 1..4u32).prop_map(|(options, max)| Op::List(options, max)),
    ]
}

fn run(turn: &mut Turn, model: &mut Model, op: &Op) {
    match op {
        Op::DeleteAll => {
            turn.delete_all().unwrap();
            model.clear();
        }
        Op::Nested(key, value, keep) => {
            let savepoint = turn.savepoint().unwrap();
            turn.put(key, value).unwrap();
            if *keep {
                turn.keep(savepoint).unwrap();
                model.insert(key.clone(), value.clone());
            } else {
                turn.undo(savepoint).unwrap();
            }
        }
        Op::Put(key, value) => {
            turn.put(key, value).unwrap();
            model.insert(key.clone(), value.clone());
        }
        Op::PutMany(entries) => {
            let given: Vec<Entry> =
                entries.iter().map(|(key, value)| Entry { key: key.clone(), value: value.clone() }).collect();
            turn.put_many(&given).unwrap();
            model.extend(entries.iter().cloned());
        }
        Op::Delete(key) => assert_eq!(turn.delete(key).unwrap(), model.remove(key).is_some()),
        Op::DeleteMany(keys) => {
            let removed = keys.iter().filter(|key| model.remove(*key).is_some()).count();
            assert_eq!(turn.delete_many(keys).unwrap() as usize, removed);
        }
        Op::Get(key) => assert_eq!(turn.get(key).unwrap().as_ref(), model.get(key)),
        Op::List(options, max) => {
            let cursor = turn.list(options.clone()).unwrap();
            let mut found = Vec::new();
            loop {
                let batch = turn.list_next(cursor, *max).unwrap();
                assert!(batch.len() <= *max as usize);
                if batch.is_empty() {
                    break;
                }
                found.extend(batch.into_iter().map(|entry| (entry.key, entry.value)));
            }
            assert_eq!(found, listed(model, options), "{options:?}");
        }
    }
}

/// Returns what a listing must return, by filtering all entries.
fn listed(model: &Model, options: &ListOptions) -> Vec<(String, Vec<u8>)> {
    let ListOptions { start, end, prefix, reverse, limit, .. } = options;
    let fits = |key: &&String| {
        start.as_ref().is_none_or(|start| *key >= start)
            && end.as_ref().is_none_or(|end| *key < end)
            && prefix.as_ref().is_none_or(|prefix| key.starts_with(prefix))
    };
    let mut keys: Vec<&String> = model.keys().filter(fits).collect();
    if *reverse {
        keys.reverse();
    }
    keys.truncate(limit.unwrap_or(u32::MAX) as usize);
    keys.into_iter().map(|key| (key.clone(), model[key].clone())).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn storage_is_a_sorted_map_that_turns_change_whole(
        turns in prop::collection::vec(
            (
                prop::collection::vec(op(), 0..12),
                prop_oneof![3 => Just(End::Apply), 2 => Just(End::RollBack), 1 => Just(End::Restart)],
            ),
            0..12,
        )
    ) {
        let mut world = World::new();
        let mut object = world.object("a");
        let mut model = Model::new();
        for (ops, end) in turns {
            let mut after = model.clone();
            let mut turn = object.begin(WorkBudget::unlimited());
            ops.iter().for_each(|op| run(&mut turn, &mut after, op));
            match end {
                End::RollBack => object.0 = Some(turn.roll_back()),
                End::Apply | End::Restart => {
                    let applied = object.apply(turn).unwrap();
                    prop_assert!(applied.wrote || after == model);
                    model = after;
                }
            }
            if let End::Restart = end {
                drop(object);
                world.restart();
                object = world.object("a");
            }
        }
        let mut turn = object.begin(WorkBudget::unlimited());
        run(&mut turn, &mut model, &Op::List(ListOptions::default(), 7));
    }
}

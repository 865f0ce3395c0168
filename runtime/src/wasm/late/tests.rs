//! Tests of late work, without a host.

use super::*;
use crate::base::{CallIds, Env};

fn context(kind: Option<Kind>, through: usize) -> Option<LateContext> {
    let root = CallIds::new(&Env::manual(1).0).next();
    let through = vec![crate::base::ObjectId::from_bytes([1; 32]); through];
    Some(LateContext {
        kind,
        handles_resumes: true,
        origin: Origin { chain: Chain { root, through, budget: None }, trace: None },
    })
}

fn begin(late: Late, kind: Option<Kind>) -> LateTurn {
    let mut turn = LateTurn::begin(late, context(kind, 0));
    turn.handler_begins();
    turn
}

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

#[test]
fn resumes_come_once_in_their_order_and_only_if_their_turn_was_applied() {
    let mut turn = begin(Late::default(), None);
    let later = turn.resume_after(ms(0), 20, true).unwrap();
    let sooner = turn.resume_after(ms(0), 10, false).unwrap();
    let never = turn.resume_after(ms(0), 5, false).unwrap();
    assert!(turn.cancel(never) && !turn.cancel(never) && !turn.cancel(99));
    let (mut late, _) = turn.apply();
    assert_eq!((late.next_due(), late.holds_until(), late.holding()), (Some(ms(10)), Some(ms(20)), 1));
    assert!(late.take_due(ms(9)).is_none());
    assert_eq!(late.take_due(ms(20)).unwrap().0, [sooner, later]);
    assert!(late.take_due(ms(99)).is_none() && late.is_empty());

    let mut turn = begin(late, None);
    let undone = turn.resume_after(ms(20), 1, true).unwrap();
    assert!(undone > never && turn.has_staged());
    let mut turn = begin(turn.undo(), None);
    let kept = turn.resume_after(ms(20), 1, true).unwrap();
    assert!(kept > undone, "a token is given once, even if its turn failed");
    let (late, _) = turn.apply();
    let mut turn = begin(late, None);
    assert!(turn.cancel(kept));
    let late = turn.undo();
    assert_eq!(late.next_due(), Some(ms(21)), "cancelled by a turn that failed");
    let mut turn = begin(late, None);
    assert!(turn.cancel(kept) && !turn.cancel(kept));
    assert!(turn.apply().0.is_empty());
}

/// A turn that fails keeps the instance only if it has staged nothing else: all else is gone, as the contract says.
#[test]
fn only_resumes_and_their_ends_stay_with_the_memory_of_a_turn_that_fails() {
    let stages = |act: fn(&mut LateTurn)| {
        let mut turn = begin(Late::default(), Some(Kind::Response));
        act(&mut turn);
        turn.has_more_than_resumes()
    };
    assert!(!stages(|_| {}));
    assert!(!stages(|turn| {
        let token = turn.resume_after(ms(0), 1, true).unwrap();
        assert!(turn.cancel(token) && turn.has_staged());
    }));
    assert!(stages(|turn| _ = turn.defer().unwrap()));
    assert!(stages(|turn| turn.hold_for(SocketId(1))));
    assert!(stages(|turn| turn.set_exclusive(true)));
    assert!(stages(|turn| turn.set_exclusive(false)));
    assert!(stages(LateTurn::drop_instance));
}

#[test]
fn a_turn_gets_a_bounded_number_of_tokens_and_the_longest_chain() {
    let mut late = Late::default();
    for through in [1, 3, 2] {
        let mut turn = LateTurn::begin(late, context(None, through));
        (0..100).for_each(|_| assert!(turn.resume_after(ms(0), 1, true).is_ok()));
        late = turn.apply().0;
    }
    let (tokens, origin) = late.take_due(ms(1)).unwrap();
    assert_eq!((tokens.len(), origin.chain.through.len()), (RESUMES_PER_TURN, 3));
    assert_eq!(late.take_due(ms(1)).unwrap().0.len(), 300 - RESUMES_PER_TURN);
}

#[test]
fn an_instance_has_no_more_late_work_than_it_may() {
    let mut turn = begin(Late::default(), None);
    let tokens: Vec<_> = (0..RESUMES_MAX).map(|_| turn.resume_after(ms(0), 1, true).unwrap()).collect();
    let full = Err(LateError::TooMany(RESUMES_MAX as u32));
    assert_eq!(turn.resume_after(ms(0), 1, true), full);
    let mut turn = begin(turn.apply().0, None);
    assert_eq!(turn.resume_after(ms(0), 1, true), full);
    assert!(turn.cancel(tokens[0]) && turn.resume_after(ms(0), 1, true).is_ok());
    assert_eq!(turn.resume_after(ms(0), 1, true), full);
    assert!(matches!(turn.resume_after(ms(0), u64::MAX, true), Err(LateError::Other(_))));

    let mut late = Late::default();
    for _ in 0..DEFERRED_MAX {
        let mut turn = begin(late, Some(Kind::Event));
        turn.defer().unwrap();
        late = turn.apply().0;
    }
    assert_eq!(begin(late, Some(Kind::Event)).defer(), Err(LateError::TooMany(DEFERRED_MAX as u32)));
}

#[test]
fn an_answer_is_given_once_and_is_of_the_kind_that_its_caller_waits_for() {
    let mut turn = begin(Late::default(), Some(Kind::Event));
    let token = turn.defer().unwrap();
    assert_eq!(turn.defer(), Err(LateError::NotDeferrable));
    let wrong = Given::Response(Err(TurnError::Stopping));
    assert_eq!(turn.reply(token, wrong), Err(LateError::WrongKind));
    assert_eq!(turn.reply(token + 1, Given::Done(Ok(()))), Err(LateError::Gone));
    let (late, effects) = turn.apply();
    assert_eq!((effects.deferred, effects.replies.len()), (Some(token), 0));
    let mut turn = begin(late, None);
    assert_eq!(turn.defer(), Err(LateError::NotDeferrable), "a resume");
    turn.reply(token, Given::Done(Ok(()))).unwrap();
    assert_eq!(turn.reply(token, Given::Done(Ok(()))), Err(LateError::Gone));
    let late = turn.undo();
    let mut turn = begin(late, None);
    turn.reply(token, Given::Done(Ok(()))).unwrap();
    let (late, effects) = turn.apply();
    assert!(effects.replies.len() == 1 && late.is_empty());

    let mut of_init = LateTurn::begin(late, context(Some(Kind::Event), 0));
    assert_eq!(of_init.defer(), Err(LateError::NotDeferrable));
    let mut own = begin(of_init.undo(), Some(Kind::Response));
    let token = own.defer().unwrap();
    own.reply(token, Given::Response(Err(TurnError::Stopping))).unwrap();
    let (late, effects) = own.apply();
    assert!(effects.deferred == Some(token) && effects.replies.len() == 1 && late.is_empty());
}

#[test]
fn a_watch_is_due_when_the_caller_has_gone_and_forgotten_when_it_was_answered() {
    let mut turn = begin(Late::default(), Some(Kind::Response));
    let deferred = turn.defer().unwrap();
    let watch = turn.on_gone(deferred).unwrap();
    let (mut late, _) = turn.apply();
    assert_eq!(late.next_due(), None);
    late.caller_has_gone(deferred, ms(7));
    assert_eq!(late.take_due(ms(7)).unwrap().0, [watch]);
    let mut turn = begin(late, Some(Kind::Response));
    assert_eq!(turn.on_gone(deferred), Err(LateError::Gone));
    let deferred = turn.defer().unwrap();
    turn.on_gone(deferred).unwrap();
    let cancelled = turn.on_gone(deferred).unwrap();
    let mut turn = begin(turn.apply().0, None);
    assert!(turn.cancel(cancelled));
    turn.reply(deferred, Given::Response(Err(TurnError::Stopping))).unwrap();
    assert!(turn.apply().0.is_empty());
}

//! Alarms whose handlers are suspended: the running alarm beside the one that is set.

use super::*;

/// The process ends while a handler is suspended: the alarm is run again, with the same number of attempts, before the
/// one that was set meanwhile.
#[test]
fn a_suspended_alarm_outlives_the_process() {
    let mut world = World::new();
    world.object("a").set_alarm(SOON);
    assert_eq!(world.due(SOON), ["a"]);
    let mut a = world.object("a");
    let taken = a.database().take_alarm(SOON).unwrap().unwrap();
    a.turn(|turn| {
        turn.run_alarm(taken);
        turn.set_alarm(Some(Alarm::at(9 * SOON)));
        turn.suspend_alarm();
    });
    assert!(a.database().take_alarm(99 * SOON).unwrap().is_none(), "one handler at a time");
    assert!(world.due(99 * SOON).is_empty());
    a.turn(|turn| assert_eq!(turn.alarm().unwrap(), Some(Alarm::at(9 * SOON)), "guests see the one that is set"));
    drop(a);
    world.restart();
    assert_eq!(world.due(SOON), ["a"]);
    let mut a = world.object("a");
    let again = a.database().take_alarm(SOON).unwrap().unwrap();
    assert_eq!((again.serial, again.alarm, again.again), (taken.serial, Alarm::at(SOON), true));
    a.turn(|turn| turn.run_alarm(again));
    a.database().report_alarm().unwrap();
    assert_eq!((a.alarm(), world.due(SOON).is_empty()), (Some(Alarm::at(9 * SOON)), true));
}

/// An alarm that is set to the time of the one that was consumed is another one.
#[test]
fn consumed_is_compared_by_number() {
    let world = World::new();
    let mut a = world.object("a");
    a.set_alarm(SOON);
    let taken = a.database().take_alarm(SOON).unwrap().unwrap();
    a.turn(|turn| {
        turn.run_alarm(taken);
        turn.set_alarm(Some(taken.alarm));
        turn.suspend_alarm();
    });
    a.turn(|turn| turn.end_alarm(taken.serial + 1, None));
    a.turn(|turn| turn.end_alarm(taken.serial, None));
    let next = a.database().take_alarm(SOON).unwrap().unwrap();
    assert!(next.serial > taken.serial && next.alarm == taken.alarm && !next.again);
}

//! Which objects get room, which are asked to leave for others, and that every waiting object gets room in the end.

use futures_util::FutureExt;

use super::*;
use crate::base::env::Manual;
use crate::base::{Limits, MemoryUse};
use crate::object::mailbox::{Admits, Inbox, Message, mailbox};

const MIB: u64 = 1 << 20;
const ONE: Cost = Cost { instances: 1, memories: 1, tables: 1, bytes: 0 };

/// What an instance of a class needs that calls nobody.
fn plain(cost: Cost) -> Need {
    Need { cost, depth: 0, may_call: false }
}

fn house(rooms: u32) -> (Arc<Residency>, Arc<Manual>) {
    let (env, clock) = Env::manual(1);
    let capacity = InstanceCapacity::derive(&Limits { live_instances: rooms, ..Limits::default() });
    (Arc::new(Residency::new(Arc::new(capacity), env, Arc::default())), clock)
}

/// A house for 100 instances with so many bytes of memory.
fn house_of_bytes(bytes: u64) -> (Arc<Residency>, Arc<InstanceCapacity>, Arc<Manual>) {
    let (env, clock) = Env::manual(1);
    let limits = Limits { live_instances: 100, live_instance_bytes: bytes, ..Limits::default() };
    let capacity = Arc::new(InstanceCapacity::derive(&limits));
    (Arc::new(Residency::new(capacity.clone(), env, Arc::default())), capacity, clock)
}

async fn live_in(house: &Arc<Residency>) -> (Permit, Inbox) {
    of_class("class", house).await
}

async fn of_class(class: &str, house: &Arc<Residency>) -> (Permit, Inbox) {
    let (mailbox, inbox) = mailbox();
    (house.admit(&ClassKey::new(class), plain(ONE), &mailbox).await.expect("there is room"), inbox)
}

/// Returns as many places as the class gets at once.
async fn fill(class: &str, house: &Arc<Residency>) -> Vec<(Permit, Inbox)> {
    let mut residents = Vec::new();
    while let Some(resident) = of_class(class, house).now_or_never() {
        residents.push(resident);
    }
    residents
}

async fn is_asked_to_leave(inbox: &mut Inbox) -> bool {
    tokio::select! { biased; message = inbox.next(Admits::All) => matches!(message, Some(Message::DropInstance(_))), () = std::future::ready(()) => false }
}

#[tokio::test]
async fn the_oldest_idle_one_makes_room_and_only_that_one() {
    // Three, and the place that is kept for another class.
    let (house, clock) = house(4);
    let (mut residents, mut inboxes) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        let (permit, inbox) = live_in(&house).await;
        clock.advance(Duration::from_millis(1));
        permit.mark_idle();
        residents.push(permit);
        inboxes.push(inbox);
    }
    residents[0].mark_busy();
    let newcomer = tokio::spawn({
        let house = house.clone();
        async move { live_in(&house).await }
    });
    tokio::task::yield_now().await;
    let asked = [is_asked_to_leave(&mut inboxes[0]).await, is_asked_to_leave(&mut inboxes[1]).await];
    assert_eq!((asked, is_asked_to_leave(&mut inboxes[2]).await), ([false, true], false));
    residents.remove(1);
    assert!(newcomer.await.is_ok());
}

#[tokio::test]
async fn who_waits_for_busy_instances_gets_the_room_of_the_first_that_goes_idle() {
    let (house, _clock) = house(1);
    let (permit, mut inbox) = live_in(&house).await;
    let newcomer = tokio::spawn({
        let house = house.clone();
        async move { live_in(&house).await }
    });
    tokio::task::yield_now().await;
    assert!(!is_asked_to_leave(&mut inbox).await);
    permit.mark_idle();
    assert!(is_asked_to_leave(&mut inbox).await);
    drop(permit);
    assert!(newcomer.await.is_ok());
}

/// Objects that were waiting when room is made do not make others leave for it.
#[tokio::test]
async fn nobody_leaves_while_there_is_room() {
    let (house, _clock) = house(4);
    let (busy, mut busy_inbox) = live_in(&house).await;
    let (gone, _inbox) = live_in(&house).await;
    let (also_gone, _inbox) = live_in(&house).await;
    let newcomers: Vec<_> = (0..2)
        .map(|_| {
            let house = house.clone();
            tokio::spawn(async move { live_in(&house).await })
        })
        .collect();
    tokio::task::yield_now().await;
    drop((gone, also_gone));
    busy.mark_idle();
    for newcomer in newcomers {
        let (permit, mut inbox) = newcomer.await.unwrap();
        permit.mark_idle();
        assert!(!is_asked_to_leave(&mut inbox).await);
    }
    assert!(!is_asked_to_leave(&mut busy_inbox).await);
}

#[tokio::test]
async fn a_sweep_asks_those_who_were_idle_for_long() {
    let (house, clock) = house(4);
    let (old, mut old_inbox) = live_in(&house).await;
    let (_busy, mut busy_inbox) = live_in(&house).await;
    let (young, mut young_inbox) = live_in(&house).await;
    old.mark_idle();
    clock.advance(Duration::from_secs(10));
    young.mark_idle();
    house.sweep(Duration::from_secs(10));
    let asked = [is_asked_to_leave(&mut old_inbox).await, is_asked_to_leave(&mut busy_inbox).await];
    assert_eq!((asked, is_asked_to_leave(&mut young_inbox).await), ([true, false], false));
}

#[tokio::test]
async fn whatever_one_class_does_the_next_finds_room_at_once() {
    let (house, _clock) = house(100);
    let busy = fill("greedy", &house).await;
    assert_eq!(busy.len(), 80);
    let modest = fill("modest", &house).await;
    assert_eq!(modest.len(), 16);
    assert!(!fill("third", &house).await.is_empty());
    drop(busy);
    assert_eq!(fill("greedy", &house).await.len(), 67, "four fifths of what the other class leaves");
}

/// Idle instances are only on loan: a class with fewer gets the room of a class with more, until both have the same.
#[tokio::test]
async fn the_largest_class_makes_room_for_the_smaller_ones_and_not_the_other_way_round() {
    let (house, clock) = house(4);
    let mut greedy = fill("greedy", &house).await;
    assert_eq!(greedy.len(), 3, "a small host keeps one place for a class that has none");
    let _other = of_class("other", &house).now_or_never().expect("the kept place is free");
    clock.advance(Duration::from_millis(1));
    greedy.iter().for_each(|(permit, _)| permit.mark_idle());
    let modest = tokio::spawn({
        let house = house.clone();
        async move { of_class("modest", &house).await }
    });
    tokio::task::yield_now().await;
    let mut asked = Vec::new();
    for (_, inbox) in &mut greedy {
        asked.push(is_asked_to_leave(inbox).await);
    }
    assert_eq!(asked.iter().filter(|asked| **asked).count(), 1);
    drop(greedy.remove(asked.iter().position(|asked| *asked).unwrap()));
    let (modest, mut modest_inbox) = modest.await.unwrap();
    clock.advance(Duration::from_secs(1));
    modest.mark_idle();
    // The instance that is asked to leave would have to be the oldest of the class itself.
    let third = tokio::spawn({
        let house = house.clone();
        async move { of_class("greedy", &house).await }
    });
    tokio::task::yield_now().await;
    assert!(!is_asked_to_leave(&mut modest_inbox).await);
    let asked = [is_asked_to_leave(&mut greedy[0].1).await, is_asked_to_leave(&mut greedy[1].1).await];
    assert!(asked[0] != asked[1]);
    // One place stays free, because a class without any instance may need it.
    greedy.clear();
    assert!(third.await.is_ok());
}

/// A class at its limit replaces its own instances, however many busy instances a larger class has.
#[tokio::test]
async fn a_class_at_its_bound_makes_room_of_its_own() {
    let (house, clock) = house(20);
    let _busy = fill("greedy", &house).await;
    let mut modest = fill("modest", &house).await;
    assert_eq!(modest.len(), 3);
    clock.advance(Duration::from_millis(1));
    modest.iter().for_each(|(permit, _)| permit.mark_idle());
    let next = tokio::spawn({
        let house = house.clone();
        async move { of_class("modest", &house).await }
    });
    tokio::task::yield_now().await;
    let mut asked = None;
    for (place, (_, inbox)) in modest.iter_mut().enumerate() {
        if is_asked_to_leave(inbox).await {
            assert_eq!(asked.replace(place), None, "one is enough");
        }
    }
    drop(modest.remove(asked.expect("one is asked to leave")));
    assert!(next.await.is_ok());
}

/// Turns that wait for room of their own class block no other class. A few instances of one class have grown; many
/// small ones of another class that lacks bytes get them back, and none of its own leaves.
#[tokio::test]
async fn who_lacks_bytes_gets_them_of_the_class_that_uses_most() {
    let (house, capacity, clock) = house_of_bytes(100 * MIB);
    let memory = |class: &str, mib: u64| {
        capacity.account(&ClassKey::new(class)).take(MemoryUse::Instances, mib * MIB).expect("it may have so much")
    };
    let (large, mut large_inbox) = of_class("greedy", &house).await;
    let grown = memory("greedy", 80);
    let (_small, mut small_inbox) = of_class("modest", &house).await;
    let (other, mut other_inbox) = of_class("modest", &house).await;
    let _small_memory = memory("modest", 15);
    clock.advance(Duration::from_millis(1));
    large.mark_idle();
    other.mark_idle();
    let cost = Cost { bytes: 6 * MIB, ..ONE };
    let newcomer = tokio::spawn({
        let house = house.clone();
        async move {
            let (mailbox, _inbox) = mailbox();
            house.admit(&ClassKey::new("modest"), plain(cost), &mailbox).await.expect("there will be room")
        }
    });
    tokio::task::yield_now().await;
    assert!(is_asked_to_leave(&mut large_inbox).await && !newcomer.is_finished());
    drop((grown, large));
    assert!(newcomer.await.is_ok());
    assert!(!is_asked_to_leave(&mut small_inbox).await && !is_asked_to_leave(&mut other_inbox).await);
}

/// An instance whose first turn has used less than it was admitted with stays, and a turn that waits gets what it gives
/// back.
#[tokio::test]
async fn bytes_that_a_turn_gives_back_go_to_a_turn_that_waits() {
    let (house, capacity, _clock) = house_of_bytes(100 * MIB);
    let admit = |bytes: u64| {
        let (house, (mailbox, inbox)) = (house.clone(), mailbox());
        async move { Some((house.admit(&ClassKey::new("class"), plain(Cost { bytes, ..ONE }), &mailbox).await?, inbox)) }
    };
    let (mut first, mut inbox) = admit(69 * MIB).await.expect("there is room");
    let charge = first.take_memory();
    assert_eq!((charge.bytes(), first.take_memory().bytes()), (70 * MIB, 0));
    let second = tokio::spawn(admit(19 * MIB));
    tokio::task::yield_now().await;
    assert!(!second.is_finished());
    drop(charge);
    first.mark_idle();
    let (second, _inbox) = second.await.unwrap().expect("the bytes are free");
    assert!(!is_asked_to_leave(&mut inbox).await);
    // What no instance was made with is free when its permit is.
    assert_eq!(capacity.memory.used(), 20 * MIB);
    drop(second);
    assert_eq!(capacity.memory.used(), 0);
}

#[tokio::test]
async fn a_queue_of_one_class_does_not_stop_another() {
    let (house, _clock) = house(20);
    let busy = fill("greedy", &house).await;
    let queue: Vec<_> = (0..50)
        .map(|_| {
            let house = house.clone();
            tokio::spawn(async move { of_class("greedy", &house).await })
        })
        .collect();
    tokio::task::yield_now().await;
    let modest = of_class("modest", &house).now_or_never();
    assert!(modest.is_some());
    queue.iter().for_each(|waiting| waiting.abort());
    for waiting in queue {
        assert!(waiting.await.is_err());
    }
    drop((busy, modest));
    assert_eq!(house.waiting.load(Ordering::SeqCst), 0);
    assert!(house.residents.lock().tenants.is_empty());
    assert_eq!(fill("greedy", &house).await.len(), 16);
}

/// An instance that late work has held until a later time, and holds no more, is as old as its last turn.
#[tokio::test]
async fn an_instance_that_is_no_longer_held_is_asked_to_leave() {
    let (house, clock) = house(4);
    let (permit, mut inbox) = live_in(&house).await;
    let (second, now) = (Duration::from_secs(1), || house.env.elapsed());
    permit.mark_idle_since(now() + 1_000 * second);
    clock.advance(10 * second);
    house.sweep(second);
    assert!(!is_asked_to_leave(&mut inbox).await, "it is held");
    permit.mark_busy();
    permit.mark_idle_since(now());
    clock.advance(2 * second);
    house.sweep(second);
    assert!(is_asked_to_leave(&mut inbox).await);
    permit.stays();
    house.sweep(second);
    assert!(is_asked_to_leave(&mut inbox).await, "it stayed, and is asked again");
}

/// Whatever waits, the deepest turn finds room.
#[tokio::test]
async fn turns_that_wait_leave_room_for_those_that_they_wait_for() {
    let (house, _clock) = house(20);
    let at = |class: &'static str, depth: usize| {
        let house = house.clone();
        async move {
            let (mailbox, inbox) = mailbox();
            let need = Need { cost: ONE, depth, may_call: true };
            Some((house.admit(&ClassKey::new(class), need, &mailbox).await?, inbox))
        }
    };
    let mut held = Vec::new();
    let mut fill = |class: &'static str, depth: usize| {
        let before = held.len();
        while let Some(Some(resident)) = at(class, depth).now_or_never() {
            held.push(resident);
        }
        held.len() - before
    };
    assert_eq!(fill("class", 0) + fill("other", 0), 9, "half of a small host, but for the place that is free");
    for depth in 1..=10 {
        assert_eq!(fill("class", depth), 1, "at depth {depth}");
    }
    assert_eq!((fill("class", 16), fill("class", 16)), (1, 0), "all is taken");
    drop(held);
    // One that calls nobody may have what is kept for those that wait.
    assert!(self::fill("plain", &house).await.len() > 10);
}

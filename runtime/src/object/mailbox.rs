//! The mailbox of an actor: bounded, first in, first out.
//!
//! Putting a call in never blocks: a full mailbox refuses it. Deletions are always admitted and end all calls before
//! them. The inbox skips a call whose caller has dropped the reply.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::class::Class;
use super::event::{Administration, Event};
use crate::base::operation::RunAlarm;
use crate::base::{Call, Limits, MemoryCharge, TurnError};

/// A message in a mailbox.
pub(super) enum Message {
    /// An event to deliver.
    Deliver(Box<Envelope>),
    /// Drop the instance, for this reason.
    DropInstance(Leaves),
}

/// The reason why an instance is asked to leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leaves {
    /// It was idle for too long.
    Idle,
    /// Its room is needed.
    Room,
    /// Its class has another version or another name.
    Version,
    /// Its class is being deleted.
    Deletion,
    /// The host stops, and waits until this time for what is due before.
    Stop(Duration),
}

impl Message {
    /// Returns whether the message is the host's, as [`Event::is_hosts`].
    fn is_hosts(&self) -> bool {
        match self {
            Self::Deliver(envelope) => envelope.call.event.is_hosts(),
            Self::DropInstance(_) => true,
        }
    }
}

/// A call that waits for its turn.
pub(super) struct Envelope {
    pub(super) call: Call<Event>,
    bytes: u64,
    /// The memory of a large call, unless it is charged already. Held until the turn is over.
    pub(super) charge: Option<MemoryCharge>,
    /// Counts a deletion. Held until it is over.
    pub(super) deletes: Option<Deleting>,
}

/// The sending end, cheap to clone.
#[derive(Clone)]
pub(super) struct Mailbox {
    sender: mpsc::UnboundedSender<Message>,
    load: Arc<Mutex<Load>>,
    deletions: Arc<Deletions>,
}

/// The deletions of an object that wait or run. While there is one, the object's turns end at once.
#[derive(Default)]
struct Deletions {
    count: AtomicUsize,
    /// The task of the actor, woken when a deletion begins.
    actor: AtomicWaker,
}

/// A deletion that has not ended.
pub(super) struct Deleting(Arc<Deletions>);

/// A future that ends when the object or its class is to be deleted.
pub(super) struct Deleted<'a> {
    deletions: &'a Deletions,
    class: &'a Class,
}

/// The receiving end, the actor's.
pub(super) struct Inbox {
    receiver: mpsc::UnboundedReceiver<Message>,
    /// Messages that arrived while only the host's were admitted, in the order of arrival.
    put_aside: VecDeque<Message>,
    load: Arc<Mutex<Load>>,
}

/// The messages that an actor takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admits {
    /// All, in the order of arrival.
    All,
    /// Only those of the host, which overtake the others: a suspended handler occupies its object.
    Hosts,
}

/// The number and size of the calls that wait.
#[derive(Default)]
struct Load {
    turns: u32,
    bytes: u64,
}

/// Why a call was not put into the mailbox.
pub enum Refusal {
    /// The mailbox is full.
    Full,
    /// The actor has ended without leaving the map: it died of a bug of the host.
    Dead(Box<Call<Event>>),
}

/// Creates a mailbox and its receiving end.
pub(super) fn mailbox() -> (Mailbox, Inbox) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let load = Arc::new(Mutex::new(Load::default()));
    (
        Mailbox { sender, load: load.clone(), deletions: Arc::default() },
        Inbox { receiver, put_aside: VecDeque::new(), load },
    )
}

impl Mailbox {
    /// Puts in a call that holds so many bytes. Calls of the host that must not be kept out are admitted also if the
    /// mailbox is full.
    pub(super) fn put(
        &self,
        call: Call<Event>,
        bytes: u64,
        charge: Option<MemoryCharge>,
        limits: &Limits,
    ) -> Result<(), Refusal> {
        let deletes = matches!(call.event, Event::Administration(Administration::Delete(_)));
        // A caller that fills the mailbox must keep out neither the alarm, of which one waits at a time, nor the
        // operator.
        let always = deletes || matches!(call.event, Event::Alarm(RunAlarm::IfDue, _));
        if !self.load.lock().take(bytes, limits, always) {
            return Err(Refusal::Full);
        }
        let deletes = deletes.then(|| self.begin_deletion());
        match self.sender.send(Message::Deliver(Box::new(Envelope { call, bytes, charge, deletes }))) {
            Ok(()) => Ok(()),
            Err(mpsc::error::SendError(Message::Deliver(envelope))) => Err(Refusal::Dead(Box::new(envelope.call))),
            Err(_) => unreachable!("the message that was sent comes back"),
        }
    }

    /// Returns whether the actor has ended without leaving the map: it died of a bug of the host.
    pub(super) fn is_dead(&self) -> bool {
        self.sender.is_closed()
    }

    /// Returns whether both lead to the same actor.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.load, &other.load)
    }

    /// Returns whether no call waits.
    pub(super) fn is_empty(&self) -> bool {
        self.load.lock().turns == 0
    }

    /// Wakes the turn that runs, to look whether its object or class is to be deleted.
    pub(super) fn wake_actor(&self) {
        self.deletions.actor.wake();
    }

    /// Asks the actor to drop its instance between turns.
    pub(super) fn ask_to_drop_instance(&self, why: Leaves) {
        // An actor that has ended has no instance.
        let _ = self.sender.send(Message::DropInstance(why));
    }

    fn begin_deletion(&self) -> Deleting {
        self.deletions.count.fetch_add(1, Ordering::SeqCst);
        self.deletions.actor.wake();
        Deleting(self.deletions.clone())
    }

    /// Returns whether a deletion of the object waits or runs.
    pub(super) fn is_deleted(&self) -> bool {
        self.deletions.count.load(Ordering::Relaxed) > 0
    }

    /// Returns a future that ends when the object or its class is to be deleted. Only one may be polled at a time.
    pub(super) fn deleted<'a>(&'a self, class: &'a Class) -> Deleted<'a> {
        Deleted { deletions: &self.deletions, class }
    }
}

impl Drop for Deleting {
    fn drop(&mut self) {
        self.0.count.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Deleted<'_> {
    /// Returns whether the object or its class is to be deleted.
    pub(super) fn is_so(&self) -> bool {
        self.deletions.count.load(Ordering::SeqCst) > 0 || self.class.is_retired()
    }

    /// Runs work, and gives it up when the object or its class is to be deleted.
    pub(super) async fn or<T>(mut self, work: impl Future<Output = Result<T, TurnError>>) -> Result<T, TurnError> {
        tokio::select! {
            biased;
            () = &mut self => Err(TurnError::Deleted),
            done = work => done,
        }
    }
}

impl Future for Deleted<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if !self.is_so() {
            // Registered before the second check, so that no deletion is missed.
            self.deletions.actor.register(context.waker());
        }
        if self.is_so() { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Inbox {
    /// Waits for the next message that is admitted. Returns none if its caller has dropped the reply. Safe to cancel.
    pub(super) async fn next(&mut self, admits: Admits) -> Option<Message> {
        let message = self.take(admits).await?;
        if let Message::Deliver(envelope) = &message {
            self.load.lock().give_back(envelope.bytes);
            if envelope.call.event.is_cancelled() {
                return None;
            }
        }
        Some(message)
    }

    async fn take(&mut self, admits: Admits) -> Option<Message> {
        if admits == Admits::All
            && let Some(first) = self.put_aside.pop_front()
        {
            return Some(first);
        }
        loop {
            let message = self.receiver.recv().await?;
            if admits == Admits::All || message.is_hosts() {
                return Some(message);
            }
            self.put_aside.push_back(message);
        }
    }

    /// Answers every call that waits with this error.
    pub(super) fn refuse_all(&mut self, error: &TurnError) {
        while let Some(message) = self.next(Admits::All).now_or_never() {
            if let Some(Message::Deliver(envelope)) = message {
                envelope.call.event.refuse(error.clone());
            }
        }
    }
}

impl Load {
    /// Takes room for a call. A call that is larger than the whole mailbox may still wait alone.
    fn take(&mut self, bytes: u64, limits: &Limits, always: bool) -> bool {
        let fits = always
            || self.turns < limits.mailbox_turns
                && (self.turns == 0 || self.bytes.saturating_add(bytes) <= limits.mailbox_bytes);
        if fits {
            self.turns += 1;
            self.bytes += bytes;
        }
        fits
    }

    /// Gives the room of a call back.
    fn give_back(&mut self, bytes: u64) {
        self.turns -= 1;
        self.bytes -= bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::operation::{Describe, Evict};
    use crate::base::{CallIds, Cause, ClassKey, ClassName, Env, ObjectAddress, ObjectId, Principal};
    use crate::object::Operation;
    use crate::object::reply::{Pending, ReplyTo};

    /// Puts a call into a mailbox, and keeps its caller waiting.
    fn put<O: Operation>(mailbox: &Mailbox, ids: &CallIds, operation: O) -> Pending<O::Answer> {
        let (reply, pending) = ReplyTo::caller();
        let key = ClassKey::new("key");
        let (class, id) = (ClassName::parse("class").unwrap(), ObjectId::unique(&key, [0; 16]));
        let target = ObjectAddress { class, key, id, name: None };
        let call = Call::new(ids.next(), target, (Cause::Admin, Principal::Admin), operation.event(reply));
        assert!(mailbox.load.lock().take(1, &Limits::default(), false));
        let sent =
            mailbox.sender.send(Message::Deliver(Box::new(Envelope { call, bytes: 1, charge: None, deletes: None })));
        assert!(sent.is_ok());
        pending
    }

    fn take(inbox: &mut Inbox, admits: Admits) -> Option<&'static str> {
        Some(match inbox.next(admits).now_or_never()?? {
            Message::DropInstance(_) => "drop",
            Message::Deliver(envelope) => match envelope.call.event {
                Event::Alarm(..) => "alarm",
                Event::Administration(Administration::Describe(_)) => "describe",
                Event::Administration(Administration::Evict(_)) => "evict",
                _ => "other",
            },
        })
    }

    #[test]
    fn the_hosts_messages_pass_while_only_they_are_admitted_and_nothing_is_lost() {
        let (ids, (mailbox, mut inbox)) = (CallIds::new(&Env::manual(1).0), mailbox());
        let first = put(&mailbox, &ids, RunAlarm::IfDue);
        let look = put(&mailbox, &ids, Describe);
        let second = put(&mailbox, &ids, RunAlarm::Now);
        mailbox.ask_to_drop_instance(Leaves::Idle);
        let hosts = [take(&mut inbox, Admits::Hosts), take(&mut inbox, Admits::Hosts), take(&mut inbox, Admits::Hosts)];
        assert_eq!(hosts, [Some("describe"), Some("drop"), None]);
        assert!(!mailbox.is_empty(), "what is put aside still waits");
        let evict = put(&mailbox, &ids, Evict);
        drop(first);
        let all = [take(&mut inbox, Admits::All), take(&mut inbox, Admits::All), take(&mut inbox, Admits::All)];
        assert_eq!(all, [None, Some("alarm"), Some("evict")], "in order, without the one that nobody waits for");
        assert!(mailbox.is_empty() && inbox.put_aside.is_empty());
        drop((look, second, evict));
    }

    #[tokio::test]
    async fn who_waits_is_answered_when_all_are_refused() {
        let (ids, (mailbox, mut inbox)) = (CallIds::new(&Env::manual(1).0), mailbox());
        let (alarm, look) = (put(&mailbox, &ids, RunAlarm::IfDue), put(&mailbox, &ids, Describe));
        inbox.refuse_all(&TurnError::OutcomeUnknown);
        assert_eq!(alarm.outcome().await, Err(TurnError::OutcomeUnknown));
        assert_eq!(look.outcome().await, Err(TurnError::OutcomeUnknown));
        assert!(mailbox.is_empty());
    }
}

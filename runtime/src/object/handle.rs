//! The way to an object: a bounded mailbox, first in, first out.
//!
//! Sending never blocks: a full mailbox is an answer, not a wait. A deletion is always taken, and ends all that came before it. Dropping the reply cancels a call whose turn has not
//! begun, or waits for room; a turn that has begun is finished, unless it is a request's that has written nothing and only waits.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use futures_util::FutureExt;
use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use super::actor::HostContext;
use super::class::Class;
use super::event::{Administration, Event};
use super::outbox::Outbox;
use super::output_gate::{self, Gated};
use crate::base::operation::RunAlarm;
use crate::base::{Call, Limits, MemoryCharge, NoMemory, TurnError};

/// What waits in a mailbox.
pub(super) enum Message {
    /// An event to deliver.
    Deliver(Box<Envelope>),
    /// Drop the instance; the room is needed, or it was idle for too long.
    DropInstance,
}

impl Message {
    /// See [`Event::is_hosts`].
    fn is_hosts(&self) -> bool {
        match self {
            Self::Deliver(envelope) => envelope.call.event.is_hosts(),
            Self::DropInstance => true,
        }
    }
}

/// A call that waits for its turn.
pub(super) struct Envelope {
    pub(super) call: Call<Event>,
    bytes: u64,
    /// What a large one takes of the host's memory, unless it is charged already. Held until its turn is over.
    pub(super) charge: Option<MemoryCharge>,
    /// Of a deletion. Held until that is over.
    pub(super) deletes: Option<Deleting>,
}

/// Who is told how a turn ended.
pub enum ReplyTo<T> {
    /// Somebody who waits for it, and cancels what need not be finished by waiting no more.
    Caller(Caller<T>),
    /// Nobody. The permit is held until the turn is over.
    Nobody(OwnedSemaphorePermit),
}

/// The way back to a caller.
pub struct Caller<T>(oneshot::Sender<Answer<T>>);

/// An outcome behind the gate, and what the object has sent that must leave before it: whoever sees the outcome must meet what
/// came before.
pub(super) struct Answer<T> {
    pub(super) outcome: Gated<Result<T, TurnError>>,
    pub(super) after: Option<Outbox>,
}

/// The sending end, cheap to clone.
#[derive(Clone)]
pub(super) struct Mailbox {
    sender: mpsc::UnboundedSender<Message>,
    load: Arc<Mutex<Load>>,
    deletions: Arc<Deletions>,
}

/// The deletions of an object that wait or run. While there is one, its turns end at once.
#[derive(Default)]
struct Deletions {
    count: AtomicUsize,
    /// Whoever runs a turn.
    actor: AtomicWaker,
}

/// A deletion that has not ended.
pub(super) struct Deleting(Arc<Deletions>);

/// Ends when the object or its class is to be deleted.
pub(super) struct Deleted<'a> {
    deletions: &'a Deletions,
    class: &'a Class,
}

/// The receiving end, the actor's.
pub(super) struct Inbox {
    receiver: mpsc::UnboundedReceiver<Message>,
    /// What came while only the host's messages were admitted, in the order in which it came.
    put_aside: VecDeque<Message>,
    load: Arc<Mutex<Load>>,
}

/// Which messages an actor takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admits {
    /// All, in the order in which they came.
    All,
    /// Those of the host, which pass the others: a handler that is suspended holds on to its object.
    #[cfg_attr(not(test), expect(dead_code, reason = "no handler can hold on to its object yet"))]
    Hosts,
}

/// What waits to be delivered.
#[derive(Default)]
struct Load {
    turns: u32,
    bytes: u64,
}

/// Why a call was not taken.
pub enum Refusal {
    /// The mailbox is full.
    Full,
    /// The actor is gone without having left: it died of a bug of ours.
    Dead(Box<Call<Event>>),
}

/// A reference to a live object.
#[derive(Clone)]
pub struct ObjectHandle {
    pub(super) mailbox: Mailbox,
    pub(super) class: Arc<Class>,
}

/// A call that was taken, with its answer to come.
pub struct Pending<T> {
    reply: oneshot::Receiver<Answer<T>>,
}

/// Calls of fewer bytes are not charged: how many there can be is bounded by the connections that they come from.
const CHARGED_FROM: u64 = 4 << 10;

/// Charges an event to its class, as far as whoever read it has not.
fn charge(event: &Event, bytes: u64, class: &Class, node: &HostContext) -> Result<Option<MemoryCharge>, NoMemory> {
    let (purpose, charged) = event.charged();
    match bytes.saturating_sub(charged) {
        ..CHARGED_FROM => Ok(None),
        rest => node.memory.account(&class.key).take(purpose, rest).map(Some),
    }
}

pub(super) fn mailbox() -> (Mailbox, Inbox) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let load = Arc::new(Mutex::new(Load::default()));
    (
        Mailbox { sender, load: load.clone(), deletions: Arc::default() },
        Inbox { receiver, put_aside: VecDeque::new(), load },
    )
}

impl ObjectHandle {
    /// Puts a call into the mailbox.
    pub fn send(&self, call: Call<Event>, node: &HostContext) -> Result<(), Refusal> {
        let bytes = call.event.queued_bytes();
        let charge = charge(&call.event, bytes, &self.class, node).map_err(|NoMemory { .. }| Refusal::Full)?;
        // Whoever fills the mailbox must not keep the alarm out, of which there is one at a time, and not the operator.
        let deletes = matches!(call.event, Event::Administration(Administration::Delete(_)));
        let always = deletes || matches!(call.event, Event::Alarm(RunAlarm::IfDue, _));
        if !self.mailbox.load.lock().take(bytes, &node.limits, always) {
            return Err(Refusal::Full);
        }
        let deletes = deletes.then(|| self.mailbox.begin_deletion());
        match self.mailbox.sender.send(Message::Deliver(Box::new(Envelope { call, bytes, charge, deletes }))) {
            Ok(()) => Ok(()),
            Err(mpsc::error::SendError(Message::Deliver(envelope))) => Err(Refusal::Dead(Box::new(envelope.call))),
            Err(_) => unreachable!("the message that was sent comes back"),
        }
    }

    /// Asks the object to drop its instance between turns. A turn of a class that is being deleted ends at once.
    pub fn drop_instance(&self) {
        self.mailbox.ask_to_drop_instance();
        self.mailbox.deletions.actor.wake();
    }

    /// The class that the object belongs to.
    pub fn class(&self) -> &Class {
        &self.class
    }

    /// Whether the actor is gone without having left.
    pub fn is_dead(&self) -> bool {
        self.mailbox.sender.is_closed()
    }

    /// Whether both lead to the same actor.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.mailbox.load, &other.mailbox.load)
    }

    /// Whether nothing waits to be delivered.
    pub fn is_empty(&self) -> bool {
        self.mailbox.load.lock().turns == 0
    }
}

impl<T> ReplyTo<T> {
    /// To a caller, who has the other end.
    pub fn caller() -> (Self, Pending<T>) {
        let (sender, reply) = oneshot::channel();
        (Self::Caller(Caller(sender)), Pending { reply })
    }

    pub(super) fn send(self, outcome: Gated<Result<T, TurnError>>, after: Option<Outbox>) {
        if let Self::Caller(Caller(sender)) = self {
            // Nobody may be waiting any more; the turn has happened all the same.
            let _ = sender.send(Answer { outcome, after });
        }
    }

    /// Answers with an error that tells nothing of what the object stores.
    pub(super) fn refuse(self, error: TurnError) {
        self.send(output_gate::of_host(error), None);
    }

    /// Ends when nobody waits for the reply any more; never, if nobody ever did.
    pub(super) fn abandoned(&mut self) -> impl Future<Output = ()> + Send + Unpin + '_
    where
        T: Send,
    {
        std::future::poll_fn(move |context| match self {
            Self::Caller(Caller(sender)) => sender.poll_closed(context),
            Self::Nobody(_) => Poll::Pending,
        })
    }

    pub(super) fn is_cancelled(&self) -> bool {
        matches!(self, Self::Caller(Caller(sender)) if sender.is_closed())
    }
}

impl<T> Pending<T> {
    /// Returns the outcome, once the output gate lets it out.
    pub async fn outcome(self) -> Result<T, TurnError> {
        let Ok(Answer { outcome, after }) = self.reply.await else {
            return Err(TurnError::Host("the object ended before its turn did".into()));
        };
        let Ok(outcome) = output_gate::open(outcome).await else { return Err(TurnError::OutcomeUnknown) };
        after.iter().for_each(Outbox::flush);
        outcome
    }
}

impl Mailbox {
    pub(super) fn ask_to_drop_instance(&self) {
        // An actor that is gone has no instance.
        let _ = self.sender.send(Message::DropInstance);
    }

    fn begin_deletion(&self) -> Deleting {
        self.deletions.count.fetch_add(1, Ordering::SeqCst);
        self.deletions.actor.wake();
        Deleting(self.deletions.clone())
    }

    /// Whether the object is to be deleted.
    pub(super) fn is_deleted(&self) -> bool {
        self.deletions.count.load(Ordering::Relaxed) > 0
    }

    /// Ends when the object or its class is to be deleted. One at a time is waited for.
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
    /// Whether that is so now.
    pub(super) fn is_so(&self) -> bool {
        self.deletions.count.load(Ordering::SeqCst) > 0 || self.class.is_retired()
    }

    /// Gives work up when it is so.
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
            // Registered before the second look, so that no deletion is missed.
            self.deletions.actor.register(context.waker());
        }
        if self.is_so() { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Inbox {
    /// Returns the next message that is admitted; none if its sender does not wait for it any more. Safe to cancel.
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

    /// Refuses every call that waits at this moment.
    pub(super) fn refuse_all(&mut self, error: &TurnError) {
        while let Some(message) = self.next(Admits::All).now_or_never() {
            if let Some(Message::Deliver(envelope)) = message {
                envelope.call.event.refuse(error.clone());
            }
        }
    }

    /// Whether nothing waits to be delivered.
    pub(super) fn is_empty(&self) -> bool {
        self.load.lock().turns == 0
    }
}

impl Load {
    /// A call that is larger than the whole mailbox may still wait alone.
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
            Message::DropInstance => "drop",
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
        mailbox.ask_to_drop_instance();
        let hosts = [take(&mut inbox, Admits::Hosts), take(&mut inbox, Admits::Hosts), take(&mut inbox, Admits::Hosts)];
        assert_eq!(hosts, [Some("describe"), Some("drop"), None]);
        assert!(!inbox.is_empty(), "what is put aside still waits");
        let evict = put(&mailbox, &ids, Evict);
        drop(first);
        let all = [take(&mut inbox, Admits::All), take(&mut inbox, Admits::All), take(&mut inbox, Admits::All)];
        assert_eq!(all, [None, Some("alarm"), Some("evict")], "in order, without the one that nobody waits for");
        assert!(inbox.is_empty() && inbox.put_aside.is_empty());
        drop((look, second, evict));
    }

    #[tokio::test]
    async fn who_waits_is_answered_when_all_are_refused() {
        let (ids, (mailbox, mut inbox)) = (CallIds::new(&Env::manual(1).0), mailbox());
        let (alarm, look) = (put(&mailbox, &ids, RunAlarm::IfDue), put(&mailbox, &ids, Describe));
        inbox.refuse_all(&TurnError::OutcomeUnknown);
        assert_eq!(alarm.outcome().await, Err(TurnError::OutcomeUnknown));
        assert_eq!(look.outcome().await, Err(TurnError::OutcomeUnknown));
        assert!(inbox.is_empty());
    }
}

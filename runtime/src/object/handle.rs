//! The way to an object: a bounded mailbox, first in, first out.
//!
//! Sending never blocks: a full mailbox is an answer, not a wait. A deletion is always taken, and ends all that came before it. Dropping the reply cancels an invocation whose turn has not
//! begun, or waits for room; a turn that has begun is finished, unless it is a request's that has written nothing and only waits.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use super::actor::Node;
use super::class::Class;
use super::outbox::Outbox;
use super::output_gate::{self, Gated};
use crate::base::{Invocation, Limits, MemoryCharge, MemoryUse, NoMemory, ObjectName, Reply, Request, TurnError};

/// How a turn ended.
pub(super) type Outcome = Result<Reply, TurnError>;

/// What waits in a mailbox.
pub(super) enum Message {
    /// An event to deliver.
    Deliver(Box<Envelope>),
    /// Drop the instance; the room is needed, or it was idle for too long.
    DropInstance,
}

/// An invocation with the way back to whoever waits for it.
pub(super) struct Envelope {
    pub(super) invocation: Invocation,
    /// The name that the object was reached by this time.
    pub(super) name: Option<ObjectName>,
    pub(super) reply: ReplyTo,
    bytes: u64,
    /// What a large one takes of the host's memory, unless it is charged already. Held until its turn is over.
    _charge: Option<MemoryCharge>,
    /// Of a deletion.
    _deletes: Option<Deleting>,
}

/// Who is told how a turn ended.
pub enum ReplyTo {
    /// Somebody who waits for it, and cancels what need not be finished by waiting no more.
    Caller(Caller),
    /// Nobody. The permit is held until the turn is over.
    Nobody(OwnedSemaphorePermit),
}

/// The way back to a caller.
pub struct Caller(oneshot::Sender<Answer>);

/// An outcome behind the gate, and what the object has sent that must leave before it: whoever sees the outcome must meet what
/// came before.
pub(super) struct Answer {
    pub(super) outcome: Gated<Outcome>,
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
struct Deleting(Arc<Deletions>);

/// Ends when the object or its class is to be deleted.
pub(super) struct Deleted<'a> {
    deletions: &'a Deletions,
    class: &'a Class,
}

/// The receiving end, the actor's.
pub(super) struct Inbox {
    receiver: mpsc::UnboundedReceiver<Message>,
    load: Arc<Mutex<Load>>,
}

/// What waits to be delivered.
#[derive(Default)]
struct Load {
    turns: u32,
    bytes: u64,
}

/// Why an invocation was not taken. It comes back to the sender.
pub enum Refusal {
    /// The mailbox is full.
    Full,
    /// The actor is gone without having left: it died of a bug of ours.
    Dead(Box<Invocation>, ReplyTo),
}

/// A reference to a live object.
#[derive(Clone)]
pub struct ObjectHandle {
    pub(super) mailbox: Mailbox,
    pub(super) class: Arc<Class>,
}

/// An invocation that was taken, with its reply to come.
pub struct Pending {
    reply: oneshot::Receiver<Answer>,
}

/// Invocations of fewer bytes are not charged: how many there can be is bounded by the connections that they come from.
const CHARGED_FROM: u64 = 4 << 10;

/// Charges an invocation to its class, as far as whoever read it has not.
fn charge(invocation: &Invocation, bytes: u64, class: &Class, node: &Node) -> Result<Option<MemoryCharge>, NoMemory> {
    let charged = match invocation {
        Invocation::Fetch(Request { charge: Some(charge), .. }) => charge.bytes(),
        _ => 0,
    };
    let purpose = match invocation {
        Invocation::Socket(_) => MemoryUse::Sockets,
        _ => MemoryUse::Requests,
    };
    match bytes.saturating_sub(charged) {
        ..CHARGED_FROM => Ok(None),
        rest => node.memory.account(&class.key).take(purpose, rest).map(Some),
    }
}

pub(super) fn mailbox() -> (Mailbox, Inbox) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let load = Arc::new(Mutex::new(Load::default()));
    (Mailbox { sender, load: load.clone(), deletions: Arc::default() }, Inbox { receiver, load })
}

impl ObjectHandle {
    /// Puts an invocation into the mailbox.
    pub fn send(
        &self,
        invocation: Invocation,
        name: Option<ObjectName>,
        reply: ReplyTo,
        node: &Node,
    ) -> Result<(), Refusal> {
        let bytes = invocation.queued_bytes();
        let charge = charge(&invocation, bytes, &self.class, node).map_err(|NoMemory { .. }| Refusal::Full)?;
        // Whoever fills the mailbox must not keep the alarm out, of which there is one at a time, and not the operator.
        let deletes = matches!(invocation, Invocation::Delete);
        let always = deletes || matches!(invocation, Invocation::Alarm { now: false });
        if !self.mailbox.load.lock().take(bytes, &node.limits, always) {
            return Err(Refusal::Full);
        }
        let deletes = deletes.then(|| self.mailbox.begin_deletion());
        let envelope = Box::new(Envelope { invocation, name, reply, bytes, _charge: charge, _deletes: deletes });
        match self.mailbox.sender.send(Message::Deliver(envelope)) {
            Ok(()) => Ok(()),
            Err(mpsc::error::SendError(Message::Deliver(envelope))) => {
                Err(Refusal::Dead(Box::new(envelope.invocation), envelope.reply))
            }
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

impl ReplyTo {
    /// To a caller, who has the other end.
    pub fn caller() -> (Self, Pending) {
        let (sender, reply) = oneshot::channel();
        (Self::Caller(Caller(sender)), Pending { reply })
    }

    pub(super) fn send(self, outcome: Gated<Outcome>, after: Option<Outbox>) {
        if let Self::Caller(Caller(sender)) = self {
            // Nobody may be waiting any more; the turn has happened all the same.
            let _ = sender.send(Answer { outcome, after });
        }
    }

    /// Ends when nobody waits for the reply any more; never, if nobody ever did.
    pub(super) fn abandoned(&mut self) -> impl Future<Output = ()> + Send + Unpin + '_ {
        std::future::poll_fn(move |context| match self {
            Self::Caller(Caller(sender)) => sender.poll_closed(context),
            Self::Nobody(_) => Poll::Pending,
        })
    }

    fn is_cancelled(&self) -> bool {
        matches!(self, Self::Caller(Caller(sender)) if sender.is_closed())
    }
}

impl Pending {
    /// The outcome, once the output gate lets it out.
    pub async fn outcome(self) -> Result<Reply, TurnError> {
        match self.reply.await {
            Ok(Answer { outcome, after }) => {
                let outcome = output_gate::open(outcome).await;
                after.iter().for_each(Outbox::flush);
                outcome
            }
            Err(_) => Err(TurnError::Host("the object ended before its turn did".into())),
        }
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
    /// The next message; none if its sender does not wait for it any more. Safe to cancel.
    pub(super) async fn next(&mut self) -> Option<Message> {
        let message = self.receiver.recv().await?;
        if let Message::Deliver(envelope) = &message {
            self.load.lock().give_back(envelope.bytes);
            if envelope.reply.is_cancelled() {
                return None;
            }
        }
        Some(message)
    }

    /// Whether nothing waits to be delivered.
    pub(super) fn is_empty(&self) -> bool {
        self.load.lock().turns == 0
    }
}

impl Load {
    /// An invocation that is larger than the whole mailbox may still wait alone.
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

//! The outside world as an argument: clocks and randomness reach the runtime through one [`Env`] only.
//!
//! `clippy.toml` bans ambient clocks and randomness everywhere else, so that a simulation controls them. Tests use
//! [`Env::manual`], whose time moves only by command.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::watch;

/// Clocks and randomness. Cheap to clone.
#[derive(Clone)]
pub struct Env(Arc<dyn Source>);

trait Source: Send + Sync {
    fn wall(&self) -> Duration;
    fn elapsed(&self) -> Duration;
    fn thread_cpu(&self) -> Duration;
    fn fill_random(&self, bytes: &mut [u8]);
    fn sleep_until(&self, elapsed: Duration) -> BoxFuture<'static, ()>;
}

impl Env {
    /// Returns the machine's clock and randomness.
    #[allow(clippy::disallowed_methods, reason = "the one place that reads the machine's clock")]
    pub fn system() -> Self {
        Self(Arc::new(System { started: Instant::now() }))
    }

    /// Returns an environment whose time moves only by [`Manual::advance`] and whose randomness is a fixed sequence per
    /// seed.
    pub fn manual(seed: u64) -> (Self, Arc<Manual>) {
        let start = Duration::from_secs(1_700_000_000);
        let (wall, elapsed, seed) = (Mutex::new(start), watch::Sender::new(start), Mutex::new(seed));
        let manual = Arc::new(Manual { wall, elapsed, seed });
        (Self(manual.clone()), manual)
    }

    /// Returns the time since the Unix epoch. May jump.
    pub fn wall(&self) -> Duration {
        self.0.wall()
    }

    /// Returns the milliseconds since the Unix epoch.
    pub fn wall_ms(&self) -> u64 {
        self.0.wall().as_millis() as u64
    }

    /// Returns the time since the process began. Never goes back.
    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }

    /// Returns the CPU time that the calling thread has used.
    pub fn thread_cpu(&self) -> Duration {
        self.0.thread_cpu()
    }

    /// Resolves when [`Self::elapsed`] has reached this value.
    pub async fn sleep_until(&self, elapsed: Duration) {
        self.0.sleep_until(elapsed).await;
    }

    /// Resolves when this much time has passed since the call.
    pub fn sleep(&self, time: Duration) -> Sleep {
        Sleep(self.0.sleep_until(self.elapsed().saturating_add(time)))
    }

    /// Waits for a future, but no longer than this. A future that is ready at once costs no reading of the clock.
    pub async fn timeout<T>(&self, patience: Duration, waited_for: impl Future<Output = T>) -> Result<T, TimedOut> {
        let (mut waited_for, mut sleep) = (pin!(waited_for), None);
        std::future::poll_fn(|context| {
            if let Poll::Ready(value) = waited_for.as_mut().poll(context) {
                return Poll::Ready(Ok(value));
            }
            let sleep = sleep.get_or_insert_with(|| self.sleep(patience));
            Pin::new(sleep).poll(context).map(|()| Err(TimedOut))
        })
        .await
    }

    /// Creates a ticker: the first tick is immediate, each further one comes when the period has passed since the last
    /// tick was taken.
    pub fn ticks(&self, period: Duration) -> Ticks {
        Ticks { env: self.clone(), period, next: None }
    }

    /// Fills `bytes` with random ones.
    pub fn fill_random(&self, bytes: &mut [u8]) {
        self.0.fill_random(bytes);
    }

    /// Returns `N` random bytes.
    pub fn random<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.0.fill_random(&mut bytes);
        bytes
    }
}

/// See [`Env::sleep`].
#[must_use = "a future does nothing unless it is polled"]
pub struct Sleep(BoxFuture<'static, ()>);

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        self.0.as_mut().poll(context)
    }
}

/// The future was not ready in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimedOut;

/// See [`Env::ticks`].
pub struct Ticks {
    env: Env,
    period: Duration,
    /// None before the first tick.
    next: Option<Sleep>,
}

impl Ticks {
    /// Waits for the next tick. Cancel-safe.
    pub async fn tick(&mut self) {
        if let Some(next) = &mut self.next {
            next.await;
        }
        self.next = Some(self.env.sleep(self.period));
    }
}

struct System {
    started: Instant,
}

impl Source for System {
    #[allow(clippy::disallowed_methods, reason = "the one place that reads the machine's clock")]
    fn wall(&self) -> Duration {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
    }

    fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    fn thread_cpu(&self) -> Duration {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
    }

    #[allow(clippy::disallowed_methods, reason = "the one place that reads the machine's randomness")]
    fn fill_random(&self, bytes: &mut [u8]) {
        getrandom::fill(bytes).expect("the machine gives random bytes");
    }

    #[allow(clippy::disallowed_methods, reason = "the one place that waits by the machine's clock")]
    fn sleep_until(&self, elapsed: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(elapsed.saturating_sub(self.elapsed())))
    }
}

/// The control of a manual clock.
pub struct Manual {
    wall: Mutex<Duration>,
    elapsed: watch::Sender<Duration>,
    seed: Mutex<u64>,
}

impl Manual {
    /// Advances the time.
    pub fn advance(&self, by: Duration) {
        *self.wall.lock() += by;
        self.elapsed.send_modify(|elapsed| *elapsed += by);
    }

    /// Sets the wall clock, as an operator does, while no time passes.
    pub fn set_wall(&self, to: Duration) {
        *self.wall.lock() = to;
    }
}

impl Source for Manual {
    fn wall(&self) -> Duration {
        *self.wall.lock()
    }

    fn elapsed(&self) -> Duration {
        *self.elapsed.borrow()
    }

    fn thread_cpu(&self) -> Duration {
        self.elapsed()
    }

    fn sleep_until(&self, until: Duration) -> BoxFuture<'static, ()> {
        let mut elapsed = self.elapsed.subscribe();
        // Pends forever if the control of the clock has been dropped.
        Box::pin(async move { drop(elapsed.wait_for(|elapsed| *elapsed >= until).await) })
    }

    /// SplitMix64: enough for tests, and one seed gives one sequence.
    fn fill_random(&self, bytes: &mut [u8]) {
        let state = &mut *self.seed.lock();
        for chunk in bytes.chunks_mut(8) {
            *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = *state;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            chunk.copy_from_slice(&(z ^ (z >> 31)).to_le_bytes()[..chunk.len()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn time_out_and_ticks_go_by_the_clock_of_the_world() {
        let (env, clock) = Env::manual(1);
        let second = Duration::from_secs(1);
        assert_eq!(env.timeout(second, async { 1 }).await, Ok(1));
        let mut waiting = Box::pin(env.timeout(second, std::future::pending::<()>()));
        assert_eq!(waiting.as_mut().now_or_never(), None);
        clock.advance(second);
        assert_eq!(waiting.await, Err(TimedOut));
        let mut ticks = env.ticks(second);
        ticks.tick().await;
        assert_eq!(ticks.tick().now_or_never(), None);
        clock.advance(5 * second);
        ticks.tick().await;
        assert_eq!(ticks.tick().now_or_never(), None, "those that were missed do not come at once");
    }
}

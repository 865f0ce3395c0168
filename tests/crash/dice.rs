//! Random choices that a seed repeats: of what is asked and when it ends. Threads and the machine's timing are not in its hand.

use std::hash::{BuildHasher, Hasher, RandomState};

/// A generator of random numbers (SplitMix64).
pub struct Dice(u64);

impl Dice {
    /// Of `HOLDFAST_CRASH_SEED`, or of a seed that nobody knows yet. Prints it, for whoever sees the test fail.
    pub fn of_the_run(test: &str) -> Self {
        let given = std::env::var("HOLDFAST_CRASH_SEED").ok();
        let seed =
            given.map_or_else(|| RandomState::new().build_hasher().finish(), |seed| seed.parse().expect("a number"));
        eprintln!("{test}: HOLDFAST_CRASH_SEED={seed}");
        Self(seed)
    }

    /// Another generator, whose sequence does not depend on what this one is asked later.
    pub fn fork(&mut self) -> Self {
        Self(self.next())
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`, which is not 0.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// Bytes, half of the time ones that compress well.
    pub fn bytes(&mut self, len: u64) -> Vec<u8> {
        let (random, letter) = (self.below(2) == 0, b'a' + self.below(26) as u8);
        (0..len).map(|_| if random { self.next() as u8 } else { letter }).collect()
    }
}

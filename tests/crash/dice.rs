//! Random choices that a seed repeats: which requests are sent and when the process ends. A seed does not repeat the
//! timing of threads and of the machine.

use std::hash::{BuildHasher, Hasher, RandomState};

/// A generator of random numbers (SplitMix64).
pub struct Dice(u64);

impl Dice {
    /// Returns a generator from `HOLDFAST_CRASH_SEED`, or from a new random seed. Prints the seed, to repeat a failed
    /// test.
    pub fn of_the_run(test: &str) -> Self {
        let given = std::env::var("HOLDFAST_CRASH_SEED").ok();
        let seed =
            given.map_or_else(|| RandomState::new().build_hasher().finish(), |seed| seed.parse().expect("a number"));
        eprintln!("{test}: HOLDFAST_CRASH_SEED={seed}");
        Self(seed)
    }

    /// Returns another generator, whose sequence does not depend on later uses of this one.
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

    /// Returns a number below `end`, which must not be 0.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// Returns bytes that compress well in half of the cases.
    pub fn bytes(&mut self, len: u64) -> Vec<u8> {
        let (random, letter) = (self.below(2) == 0, b'a' + self.below(26) as u8);
        (0..len).map(|_| if random { self.next() as u8 } else { letter }).collect()
    }
}

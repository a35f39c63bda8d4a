//! The shuffle: a seed and a number of people make an order, the same in every language.
//!
//! Fisher–Yates from the end, on a stream of 64-bit numbers: block k of the stream is SHA-256 of
//! the seed and k (8 bytes, big-endian), four numbers of 8 bytes each, big-endian. A number that
//! would favour the lower indices is thrown away, so that every order is equally likely.

use sha2::{Digest, Sha256};

use super::seal::Seed;

/// Rank → index: who is served how-manyth, each index of `0..people` once.
///
/// Cost: O(people), and 4 bytes per person.
#[must_use]
pub fn shuffle(seed: &Seed, people: u32) -> Vec<u32> {
    let mut numbers = Numbers::new(seed);
    let mut order: Vec<u32> = (0..people).collect();
    for rank in (1..order.len()).rev() {
        let other = numbers.below(rank as u64 + 1);
        order.swap(rank, usize::try_from(other).unwrap_or(rank));
    }
    order
}

/// The stream of one seed.
struct Numbers {
    seeded: Sha256,
    blocks: u64,
    /// Of the last block, the next one last.
    left: Vec<u64>,
}

impl Numbers {
    fn new(seed: &Seed) -> Self {
        Self { seeded: Sha256::new().chain_update(seed.bytes()), blocks: 0, left: Vec::new() }
    }

    fn next(&mut self) -> u64 {
        if let Some(number) = self.left.pop() {
            return number;
        }
        let block = self.seeded.clone().chain_update(self.blocks.to_be_bytes()).finalize();
        self.blocks += 1;
        let number = |at: usize| {
            block.iter().skip(8 * at).take(8).fold(0, |bits, byte| bits << 8 | u64::from(*byte))
        };
        self.left.extend([3, 2, 1].map(number));
        number(0)
    }

    /// A number of `0..bound`, each equally likely; `bound` > 0.
    fn below(&mut self, bound: u64) -> u64 {
        // 2^64 mod bound: so many of the highest numbers are too many.
        let excess = (u64::MAX % bound + 1) % bound;
        loop {
            let number = self.next();
            if number <= u64::MAX - excess {
                return number % bound;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn everybody_is_in_the_order_once() {
        for people in [0, 1, 2, 1000] {
            let mut order = shuffle(&Seed::new([7; 32]), people);
            order.sort_unstable();
            assert!(order.into_iter().eq(0..people), "{people}");
        }
    }

    /// Computed apart from this code, with Python's hashlib, as `docs/fairness.md` has it.
    #[test]
    fn the_order_of_a_seed_never_changes() {
        let seed = Seed::new(std::array::from_fn(|n| u8::try_from(n).expect("a byte")));
        assert_eq!(shuffle(&seed, 10), VECTOR_10);
        let order = shuffle(&seed, 1000);
        assert_eq!(order[..5], VECTOR_1000);
    }

    const VECTOR_10: [u32; 10] = [7, 2, 0, 6, 3, 8, 5, 9, 4, 1];
    const VECTOR_1000: [u32; 5] = [995, 455, 261, 973, 807];

    /// Every order of four, 24 of them, from 24,000 seeds: 23 degrees of freedom, and a chi-square
    /// above 60 would come by chance once in 30,000; the seeds are always the same.
    #[test]
    fn every_order_is_equally_likely() {
        let mut counts = std::collections::HashMap::new();
        for n in 0..24_000_u64 {
            let mut seed = [0; 32];
            seed[..8].copy_from_slice(&n.to_be_bytes());
            *counts.entry(shuffle(&Seed::new(seed), 4)).or_insert(0_u32) += 1;
        }
        assert_eq!(counts.len(), 24);
        let chi_square: f64 =
            counts.values().map(|&count| (f64::from(count) - 1000.0).powi(2) / 1000.0).sum();
        assert!(chi_square < 60.0, "{chi_square}");
    }

    proptest! {
        #[test]
        fn numbers_below_a_bound_are_below_it(seed: [u8; 32], bound in 1_u64..) {
            let mut numbers = Numbers::new(&Seed::new(seed));
            for _ in 0..20 {
                prop_assert!(numbers.below(bound) < bound);
            }
        }
    }
}

//! Numbers that will never be served: people who left while waiting, and ranges never to be used.
//!
//! A [`DeadSet`] is immutable and shared between boards; [`DeadSet::merged`] makes the next one.

use super::draw::Order;
use crate::words::Place;

/// One or more successive places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlaceRange {
    first: u64,
    last: u64,
}

impl PlaceRange {
    /// The places `first..=last`; `None` if there are none.
    #[must_use]
    pub fn new(first: Place, last: Place) -> Option<Self> {
        (first <= last).then_some(Self { first: first.get(), last: last.get() })
    }

    /// Reads a member of `{c<id>}:dead`: `<place>` or `<from>-<to>`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let place = |text: &str| Place::try_from(text.parse::<i128>().ok()?).ok();
        match text.split_once('-') {
            None => Some(Self::from(place(text)?)),
            Some((first, last)) => Self::new(place(first)?, place(last)?),
        }
    }
}

impl PlaceRange {
    /// The same places as numbers in service of `order`, in any number of ranges.
    pub(super) fn in_service(self, order: &Order, mut add: impl FnMut(Self)) {
        order.range_in_service(self.first, self.last, |first, last| add(Self { first, last }));
    }
}

impl From<Place> for PlaceRange {
    fn from(place: Place) -> Self {
        Self { first: place.get(), last: place.get() }
    }
}

/// One member of `{c<id>}:dead`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeadEntry {
    /// Its score: the how-manyth death of this line.
    pub ordinal: u64,
    /// Who died.
    pub range: PlaceRange,
}

/// Disjoint, ascending, never adjacent ranges, each with the number of dead places before it.
#[derive(Debug, Clone, Default)]
pub struct DeadSet {
    ranges: Vec<Ranked>,
}

#[derive(Debug, Clone, Copy)]
struct Ranked {
    first: u64,
    last: u64,
    /// Dead places in all ranges before this one.
    before: u64,
}

/// What a [`DeadSet`] says about one place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Among {
    /// The place itself is dead.
    Dead,
    /// It is not, and so many dead places are lower.
    Above(u64),
}

impl DeadSet {
    /// Whether `place` is dead, and if not, how many lower ones are: one binary search.
    pub(super) fn look_up(&self, place: u64) -> Among {
        let after = self.ranges.partition_point(|range| range.first <= place);
        match after.checked_sub(1).and_then(|at| self.ranges.get(at)) {
            None => Among::Above(0),
            Some(range) if place <= range.last => Among::Dead,
            Some(range) => Among::Above(range.before + (range.last - range.first + 1)),
        }
    }

    /// How many dead places are lower than `place`.
    #[must_use]
    pub fn count_below(&self, place: u64) -> u64 {
        let after = self.ranges.partition_point(|range| range.first < place);
        match after.checked_sub(1).and_then(|at| self.ranges.get(at)) {
            None => 0,
            Some(range) => range.before + ((range.last + 1).min(place) - range.first),
        }
    }

    /// The ranges, ascending.
    pub fn places(&self) -> impl Iterator<Item = PlaceRange> + '_ {
        self.ranges.iter().map(|range| PlaceRange { first: range.first, last: range.last })
    }

    /// How many ranges are kept.
    #[must_use]
    pub fn ranges(&self) -> usize {
        self.ranges.len()
    }

    /// How many ranges lie wholly below `head` and will never be asked about again.
    #[must_use]
    pub fn ranges_below(&self, head: u64) -> usize {
        self.ranges.partition_point(|range| range.last < head)
    }

    /// This set and `new` (any order, overlaps allowed), without what lies wholly below `head`.
    ///
    /// Cost: O(n) to copy n ranges, O(m log m) for m new ones.
    #[must_use]
    pub fn merged(&self, mut new: Vec<PlaceRange>, head: u64) -> Self {
        new.retain(|range| range.last >= head);
        new.sort_unstable_by_key(|range| range.first);
        let old = self.ranges.get(self.ranges_below(head)..).unwrap_or(&[]);
        let mut merged = Self { ranges: Vec::with_capacity(old.len() + new.len()) };
        let mut new = new.into_iter().peekable();
        for range in old {
            while let Some(earlier) = new.next_if(|new| new.first < range.first) {
                merged.push(earlier.first, earlier.last);
            }
            merged.push(range.first, range.last);
        }
        for range in new {
            merged.push(range.first, range.last);
        }
        merged
    }

    /// Appends a range that starts no lower than the last one.
    fn push(&mut self, first: u64, last: u64) {
        let before = match self.ranges.last_mut() {
            Some(top) if first <= top.last + 1 => {
                top.last = top.last.max(last);
                return;
            }
            Some(top) => top.before + (top.last - top.first + 1),
            None => 0,
        };
        self.ranges.push(Ranked { first, last, before });
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn range(first: u64, last: u64) -> PlaceRange {
        PlaceRange { first, last }
    }

    #[test]
    fn members_are_a_place_or_a_range_and_nothing_else() {
        assert_eq!(PlaceRange::parse("7"), Some(range(7, 7)));
        assert_eq!(PlaceRange::parse("7-9"), Some(range(7, 9)));
        for text in ["", "0", "-3", "9-7", "7-", "7-9-11", "7:1", "x", "1125899906842624"] {
            assert_eq!(PlaceRange::parse(text), None, "{text}");
        }
    }

    #[test]
    fn neighbours_become_one_range_and_what_was_served_is_dropped() {
        let set = DeadSet::default().merged(vec![range(3, 3), range(9, 9), range(4, 6)], 1);
        assert_eq!(set.ranges(), 2);
        let set = set.merged(vec![range(7, 8), range(20, 20)], 4);
        assert_eq!(set.ranges(), 2, "3..=9 is one range now");
        assert_eq!(set.merged(Vec::new(), 10).ranges(), 1);
        assert_eq!(set.merged(Vec::new(), 21).ranges(), 0);
    }

    proptest! {
        #[test]
        fn a_dead_set_counts_like_a_plain_set(
            batches in prop::collection::vec(
                (prop::collection::vec((1_u64..300, 0_u64..12), 0..20), 0_u64..40), 1..6),
        ) {
            let (mut set, mut plain, mut head) = (DeadSet::default(), BTreeSet::new(), 1);
            for (ranges, served) in batches {
                head += served;
                plain.extend(ranges.iter().flat_map(|&(first, more)| first..=first + more));
                let ranges = ranges.iter().map(|&(first, more)| range(first, first + more));
                set = set.merged(ranges.collect(), head);
                for place in head..320 {
                    let below = plain.range(head..place).count() as u64;
                    prop_assert_eq!(set.count_below(place) - set.count_below(head), below);
                    let expected = if plain.contains(&place) {
                        Among::Dead
                    } else {
                        Among::Above(set.count_below(place))
                    };
                    prop_assert_eq!(set.look_up(place), expected);
                }
                let gap = |pair: &[Ranked]| pair[0].last + 1 < pair[1].first;
                prop_assert!(set.ranges.windows(2).all(gap));
            }
        }
    }
}

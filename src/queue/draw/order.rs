//! Who takes part in a draw, and the order that came of it.

use std::fmt;

use super::seal::Seed;
use super::shuffle::shuffle;

/// The numbers that take part: ascending, disjoint ranges of numbers really given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Segments {
    ranges: Vec<Range>,
    people: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Range {
    first: u64,
    last: u64,
    /// Numbers in all ranges before this one.
    before: u64,
}

impl Segments {
    /// The most people of a draw: their order is kept in 8 bytes each.
    pub const PEOPLE_MAX: u64 = u32::MAX as u64;

    /// Ranges `first..=last`; none unless they are ascending and disjoint, with 1 to
    /// [`Self::PEOPLE_MAX`] numbers each and together.
    #[must_use]
    pub fn new(ranges: impl IntoIterator<Item = (u64, u64)>) -> Option<Self> {
        let mut segments = Self::default();
        let mut next = 1;
        for (first, last) in ranges {
            if first < next || last < first || last == u64::MAX {
                return None;
            }
            segments.ranges.push(Range { first, last, before: segments.people });
            segments.people = segments.people.checked_add(last - first + 1)?;
            next = last + 1;
        }
        (segments.people <= Self::PEOPLE_MAX).then_some(segments)
    }

    /// Reads `<first>-<last>,…`; the empty text is nobody.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut ranges = Vec::new();
        for range in text.split(',').filter(|_| !text.is_empty()) {
            let (first, last) = range.split_once('-')?;
            ranges.push((first.parse().ok()?, last.parse().ok()?));
        }
        Self::new(ranges)
    }

    /// How many numbers there are.
    #[must_use]
    pub fn people(&self) -> u64 {
        self.people
    }

    /// The lowest number; 0 if there is none.
    #[must_use]
    pub fn first(&self) -> u64 {
        self.ranges.first().map_or(0, |range| range.first)
    }

    /// The highest number; 0 if there is none.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.ranges.last().map_or(0, |range| range.last)
    }

    /// The ranges, ascending.
    pub fn ranges(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.ranges.iter().map(|range| (range.first, range.last))
    }

    /// The how-manyth number this is, from 0; none if it does not take part.
    #[must_use]
    pub fn index_of(&self, number: u64) -> Option<u64> {
        let after = self.ranges.partition_point(|range| range.first <= number);
        let range = self.ranges.get(after.checked_sub(1)?)?;
        (number <= range.last).then(|| range.before + (number - range.first))
    }

    /// The number of this index.
    #[must_use]
    pub fn number_at(&self, index: u64) -> Option<u64> {
        let after = self.ranges.partition_point(|range| range.before <= index);
        let range = self.ranges.get(after.checked_sub(1)?)?;
        let number = range.first + (index - range.before);
        (number <= range.last).then_some(number)
    }
}

impl fmt::Display for Segments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, range) in self.ranges.iter().enumerate() {
            let comma = if n == 0 { "" } else { "," };
            write!(f, "{comma}{}-{}", range.first, range.last)?;
        }
        Ok(())
    }
}

/// The order of a draw, both ways: 8 bytes per person.
///
/// Its people keep the numbers that are theirs together, and take turns on them: whoever has rank r
/// is served as if holding the (r+1)th of these numbers. So the line is one sequence of *numbers in
/// service*, on which heads, gaps and positions work as they do without a draw.
#[derive(Debug)]
pub struct Order {
    segments: Segments,
    by_rank: Vec<u32>,
    rank_of: Vec<u32>,
}

impl Order {
    /// Draws.
    #[must_use]
    pub fn draw(seed: &Seed, segments: Segments) -> Self {
        let by_rank = shuffle(seed, u32::try_from(segments.people()).unwrap_or(u32::MAX));
        let mut rank_of = vec![0; by_rank.len()];
        for (rank, index) in (0..).zip(&by_rank) {
            if let Some(slot) = rank_of.get_mut(*index as usize) {
                *slot = rank;
            }
        }
        Self { segments, by_rank, rank_of }
    }

    /// Who takes part.
    #[must_use]
    pub fn segments(&self) -> &Segments {
        &self.segments
    }

    /// The rank of a place, 0 is the first; none if it does not take part.
    #[must_use]
    pub fn rank_of(&self, place: u64) -> Option<u64> {
        let index = usize::try_from(self.segments.index_of(place)?).ok()?;
        self.rank_of.get(index).map(|rank| u64::from(*rank))
    }

    /// The place of a rank.
    #[must_use]
    pub fn place_at(&self, rank: u64) -> Option<u64> {
        let index = self.by_rank.get(usize::try_from(rank).ok()?)?;
        self.segments.number_at(u64::from(*index))
    }

    /// The places from rank `start` on, at most `most`.
    pub fn places(&self, start: u64, most: usize) -> impl Iterator<Item = u64> + '_ {
        (start..).map_while(|rank| self.place_at(rank)).take(most)
    }

    /// The number in service of a place: its own if it does not take part.
    #[must_use]
    pub fn in_service(&self, place: u64) -> u64 {
        let number = self.rank_of(place).and_then(|rank| self.segments.number_at(rank));
        number.unwrap_or(place)
    }

    /// The numbers in service of the places `first..=last`, as ranges.
    pub fn range_in_service(&self, first: u64, last: u64, mut add: impl FnMut(u64, u64)) {
        let mut from = first;
        for (low, high) in self.segments.ranges() {
            let (low, high) = (low.max(from), high.min(last));
            if low > high {
                continue;
            }
            if from < low {
                add(from, low - 1);
            }
            for place in low..=high {
                let number = self.in_service(place);
                add(number, number);
            }
            from = high + 1;
        }
        if from <= last {
            add(from, last);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn segments_are_ascending_ranges_and_nothing_else() {
        let segments = Segments::parse("3-3,5-8").expect("two ranges");
        assert_eq!((segments.people(), segments.first(), segments.last()), (5, 3, 8));
        assert_eq!(segments.to_string(), "3-3,5-8");
        assert_eq!(Segments::parse("").map(|none| none.people()), Some(0));
        for text in ["0-1", "5", "5-4", "1-2,2-3", "1-2,", ",", "-", "1-4294967297", "a-b", "1-2-3"]
        {
            assert_eq!(Segments::parse(text), None, "{text}");
        }
    }

    fn any_segments() -> impl Strategy<Value = Segments> {
        prop::collection::vec((1_u64..20, 1_u64..20), 0..5).prop_map(|gaps| {
            let mut next = 0;
            let ranges = gaps.into_iter().map(|(gap, length)| {
                let first = next + gap;
                next = first + length;
                (first, next - 1)
            });
            Segments::new(ranges.collect::<Vec<_>>()).expect("ascending")
        })
    }

    proptest! {
        #[test]
        fn an_order_goes_both_ways_and_keeps_its_numbers(segments in any_segments(), seed: [u8; 32]) {
            let order = Order::draw(&Seed::new(seed), segments.clone());
            let numbers: Vec<u64> = segments.ranges().flat_map(|(low, high)| low..=high).collect();
            prop_assert_eq!(numbers.len() as u64, segments.people());
            let mut in_service = BTreeSet::new();
            for (index, number) in (0..).zip(&numbers) {
                prop_assert_eq!(segments.index_of(*number), Some(index));
                prop_assert_eq!(segments.number_at(index), Some(*number));
                let rank = order.rank_of(*number).expect("takes part");
                prop_assert_eq!(order.place_at(rank), Some(*number));
                in_service.insert(order.in_service(*number));
            }
            prop_assert!(in_service.iter().eq(&numbers), "people take turns on their own numbers");
            let served: Vec<u64> = order.places(0, usize::MAX).collect();
            prop_assert!(served.iter().map(|place| order.in_service(*place)).eq(numbers));
            prop_assert_eq!(order.place_at(segments.people()), None);
            for other in [0, segments.last() + 1, segments.last() + 1000] {
                prop_assert_eq!(order.rank_of(other), None);
                prop_assert_eq!(order.in_service(other), other);
            }
        }

        #[test]
        fn a_range_in_service_is_each_of_its_numbers(
            segments in any_segments(), seed: [u8; 32], first in 1_u64..120, length in 1_u64..120,
        ) {
            let order = Order::draw(&Seed::new(seed), segments);
            let last = first + length - 1;
            let mut found = Vec::new();
            order.range_in_service(first, last, |low, high| found.extend(low..=high));
            found.sort_unstable();
            let mut expected: Vec<u64> = (first..=last).map(|n| order.in_service(n)).collect();
            expected.sort_unstable();
            prop_assert_eq!(found, expected);
        }
    }
}

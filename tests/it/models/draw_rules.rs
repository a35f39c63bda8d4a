//! The rules of the lottery: `queue/draw`, and its part in settling, arrivals and promotion.

use onsale::queue::draw::{Segments, hex};
use uuid::Uuid;

use super::call::{COMMITMENT, Drawn, Frozen, ROUND, SEALED, order_of};
use super::model::Model;

impl Model {
    pub fn advance_draw(&mut self, id: Uuid, round: bool, early: bool) -> String {
        let Some(last) = self.seq else { return "unsettled".into() };
        if self.run != self.process || self.epoch.is_none() {
            return "unsettled".into();
        }
        let is_open = self.has_opened(early);
        let now = self.now;
        let Some(mut draw) = self.draw.take() else {
            if is_open || !self.waiting.is_empty() {
                return "none".into();
            }
            let draw = Drawn { id, round, committed: now, frozen: None, cursor: 0 };
            return self.keep(draw);
        };
        if is_open && draw.frozen.is_none() {
            let segments = self.given_since_the_head(last);
            draw.frozen = Some(Frozen { segments, at: now, value: None });
        }
        let posted = self.settings.get("beacon").cloned();
        if let Some(frozen) = draw.frozen.as_mut().filter(|_| draw.round) {
            frozen.value = frozen.value.take().or(posted);
        }
        self.keep(draw)
    }

    fn keep(&mut self, draw: Drawn) -> String {
        let answer = format!("draw {}", draw_shown(Some(&draw)));
        self.remembered = Some(draw.clone());
        self.draw = Some(draw);
        answer
    }

    /// Every number from the first who waits to the last one, but for those that were skipped.
    fn given_since_the_head(&self, last: u64) -> String {
        let Some(head) = self.waiting.keys().next() else { return String::new() };
        let is_skipped =
            |n: &u64| self.skipped.range(n..).next().is_some_and(|(_, first)| first <= n);
        // Range by range: a jump is a million numbers long.
        let (mut ranges, mut from) = (Vec::new(), *head);
        for (to, first) in self.skipped.range(head..) {
            ranges.push((from, first - 1));
            from = to + 1;
        }
        ranges.push((from, last));
        ranges.retain(|(first, last)| first <= last);
        assert!(ranges.iter().all(|(first, last)| !is_skipped(first) && !is_skipped(last)));
        Segments::new(ranges).expect("ascending").to_string()
    }

    /// What a server remembers comes back where it is missing.
    pub fn write_back(&mut self, remembered: Option<&Drawn>) {
        let Some(remembered) = remembered else { return };
        let Some(draw) = &mut self.draw else {
            self.draw = Some(Drawn { cursor: 0, ..remembered.clone() });
            return;
        };
        if draw.id != remembered.id {
            return;
        }
        match (&mut draw.frozen, &remembered.frozen) {
            (None, Some(_)) => draw.frozen.clone_from(&remembered.frozen),
            (Some(frozen), Some(remembered)) if frozen.value.is_none() => {
                frozen.value.clone_from(&remembered.value);
            }
            _ => {}
        }
    }

    /// Whether nothing is missing for the order.
    pub fn drawn(&self) -> Option<(&Drawn, &Frozen)> {
        let draw = self.draw.as_ref()?;
        let frozen = draw.frozen.as_ref()?;
        (!draw.round || frozen.value.is_some()).then_some((draw, frozen))
    }

    /// Whether somebody waits who takes part in the draw, drawn already or not.
    pub fn is_in_draw(&self) -> bool {
        let Some(draw) = &self.draw else { return false };
        let Some(frozen) = &draw.frozen else { return false };
        let segments = Segments::parse(&frozen.segments).expect("segments");
        let head = self.waiting.keys().next();
        draw.cursor < segments.people() && head.is_some_and(|head| *head <= segments.last())
    }

    pub fn people(&self) -> u64 {
        let frozen = self.draw.as_ref().and_then(|draw| draw.frozen.as_ref());
        frozen.map_or(0, |frozen| Segments::parse(&frozen.segments).expect("segments").people())
    }

    /// The next to be served: first who stood in line before the draw.
    pub fn next_in_draw(&mut self, most: usize, start: u64) -> Vec<u64> {
        let (draw, frozen) = self.drawn().expect("a draw");
        let (order, mut cursor) = (order_of(&frozen.segments), draw.cursor);
        let first = Segments::parse(&frozen.segments).expect("segments").first();
        let before: Vec<u64> = self.waiting.range(..first).map(|(place, _)| *place).collect();
        if !before.is_empty() {
            return before.into_iter().take(most).collect();
        }
        let named: Vec<u64> = order.places(start, 128).collect();
        let mut next = Vec::new();
        while next.len() < most && cursor >= start {
            let at = usize::try_from(cursor - start).expect("a few");
            let Some(place) = named.get(at) else { break };
            next.extend(Some(*place).filter(|place| self.waiting.contains_key(place)));
            cursor += 1;
        }
        self.draw.as_mut().expect("a draw").cursor = cursor;
        next
    }

    /// What forgets that a place was served forgets those of later ranks too.
    pub fn roll_back_the_cursor(&mut self, place: u64) {
        let Some(draw) = &mut self.draw else { return };
        let Some(frozen) = &draw.frozen else { return };
        if let Some(rank) = order_of(&frozen.segments).rank_of(place) {
            draw.cursor = draw.cursor.min(rank);
        }
    }

    /// A place among those served in order: by its rank, if it has one.
    pub fn in_service(&self, place: u64) -> u64 {
        let frozen = self.draw.as_ref().and_then(|draw| draw.frozen.as_ref());
        frozen.map_or(place, |frozen| order_of(&frozen.segments).in_service(place))
    }
}

/// A draw in an answer.
pub fn draw_shown(draw: Option<&Drawn>) -> String {
    format!("{draw:?}")
}

/// A draw as its fields in Redis.
pub fn draw_fields(draw: &Drawn) -> Vec<(&'static str, String)> {
    let mut fields = vec![
        ("id", draw.id.to_string()),
        ("commitment", hex(&COMMITMENT)),
        ("sealed", hex(&SEALED)),
        ("round", if draw.round { ROUND.to_owned() } else { String::new() }),
        ("committed_ms", draw.committed.to_string()),
    ];
    if let Some(Frozen { segments, at, value }) = &draw.frozen {
        let numbers = Segments::parse(segments).expect("segments");
        fields.push(("segments", segments.clone()));
        fields.push(("people", numbers.people().to_string()));
        fields.push(("last", numbers.last().to_string()));
        fields.push(("frozen_ms", at.to_string()));
        fields.push(("cursor", draw.cursor.to_string()));
        fields.extend(value.clone().map(|value| ("value", value)));
    }
    fields
}

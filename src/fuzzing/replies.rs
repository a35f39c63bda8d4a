//! Answers of Redis: every script's decoder takes any answer and makes of it an outcome that means
//! what the answer says, or a fault.

use std::fmt::Debug;

use crate::payments::rebuild::{SealRebuild, TakeRebuild};
use crate::payments::scripts::{BeginPayment, Begun, CancelPayment, FinishPayment};
use crate::queue::controls::ClearLine;
use crate::queue::draw::script::AdvanceDraw;
use crate::queue::promotion::Promote;
use crate::queue::scripts::{Enter, ReadBoard, Settle};
use crate::queue::settings::Configure;
use crate::queue::token_scripts::{Claim, Leave};
use crate::redis::{ScriptCall, WrittenAnswer};
use crate::seats::domain::{SeatReading, Unfree};
use crate::seats::scripts::{
    CorrectSold, GiveSeatsBack, HoldSeats, ReadDates, ReadHolds, ReadSeats, ReleaseHolds,
    RestoreSold, RewithholdSeats, SweepHolds, WithholdSeats,
};
use crate::words::SeatNumber;

/// A longer input shows nothing that a shorter one does not.
const INPUT_BYTES_MAX: usize = 4096;

/// The input as the answer of every script.
pub fn redis_reply(input: &[u8]) {
    if input.len() > INPUT_BYTES_MAX {
        return;
    }
    let answer = WrittenAnswer::read(input);
    of_the_line(&answer);
    of_seats(&answer);
    of_payments(&answer);
}

fn of_the_line(answer: &WrittenAnswer) {
    decode::<Settle<'_>>(answer);
    decode::<Enter<'_>>(answer);
    decode::<Promote<'_>>(answer);
    decode::<Claim<'_>>(answer);
    decode::<Leave<'_>>(answer);
    decode::<ReadBoard<'_>>(answer);
    decode::<Configure<'_>>(answer);
    decode::<ClearLine<'_>>(answer);
    decode::<AdvanceDraw<'_>>(answer);
}

fn of_seats(answer: &WrittenAnswer) {
    decode::<HoldSeats<'_>>(answer);
    decode::<ReleaseHolds<'_>>(answer);
    decode::<SweepHolds<'_>>(answer);
    decode::<RestoreSold<'_>>(answer);
    decode::<CorrectSold<'_>>(answer);
    decode::<ReadDates<'_>>(answer);
    decode::<WithholdSeats<'_>>(answer);
    decode::<GiveSeatsBack<'_>>(answer);
    decode::<RewithholdSeats<'_>>(answer);
    if let Some(holds) = decode::<ReadHolds<'_>>(answer) {
        let sorted = holds.holds.is_sorted_by_key(|hold| (hold.date, hold.seat));
        assert!(sorted, "{holds:?}");
    }
    if let Some(reading) = decode::<ReadSeats<'_>>(answer) {
        lists_what_is_free(&reading);
    }
}

fn of_payments(answer: &WrittenAnswer) {
    decode::<CancelPayment<'_>>(answer);
    decode::<FinishPayment<'_>>(answer);
    decode::<TakeRebuild<'_>>(answer);
    decode::<SealRebuild<'_>>(answer);
    if let Some(Begun::Holds(seats)) = decode::<BeginPayment<'_>>(answer) {
        assert!(seats.is_sorted_by_key(|seat| (seat.date, seat.seat)), "{seats:?}");
    }
}

/// The outcome, if it is one. A number means the same as text, and the decoder knows where an answer
/// ends: without its last field it is a fault or says less, unless that field is read by nobody.
fn decode<C: ScriptCall>(answer: &WrittenAnswer) -> Option<C::Outcome>
where
    C::Outcome: Debug,
{
    let outcome = answer.decoded::<C>().ok()?;
    let shown = format!("{outcome:?}");
    let as_text = answer.with_integers_as_text().decoded::<C>();
    assert!(as_text.is_ok_and(|as_text| format!("{as_text:?}") == shown), "{answer:?}");
    if let Ok(less) = answer.cut().decoded::<C>() {
        assert!(format!("{less:?}").len() <= shown.len(), "{answer:?}");
    }
    Some(outcome)
}

/// The list that a client gets, against each seat looked up by itself.
fn lists_what_is_free(reading: &SeatReading) {
    let seats = |last: u32| (1..=last).filter_map(|n| SeatNumber::try_from(i128::from(n)).ok());
    for last in [1, 7, 50] {
        let free: Vec<u32> = seats(last)
            .filter(|seat| reading.unfree(*seat).is_none())
            .map(SeatNumber::get)
            .collect();
        let expected = serde_json::json!({ "availableSeats": free }).to_string();
        let Some(last) = seats(last).next_back() else { return };
        assert_eq!(reading.free(last).encode(), expected.as_bytes(), "{reading:?}");
    }
    let sold: Vec<SeatNumber> = reading.sold.iter().collect();
    assert!(sold.is_sorted(), "{reading:?}");
    assert!(sold.iter().all(|seat| reading.unfree(*seat) == Some(Unfree::Sold(*seat))));
    let held = reading.held.iter().filter(|seat| !reading.sold.contains(**seat));
    held.for_each(|seat| assert_eq!(reading.unfree(*seat), Some(Unfree::Held(*seat))));
}

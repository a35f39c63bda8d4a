//! What a run has shown, for people, and whether it is good.

use std::collections::BTreeMap;

use crate::checker::Verdict;
use crate::history::{Call, History, Outcome};

/// A run of at least this must have checked everything.
const WHOLE_US: u64 = 5 * 60 * 1_000_000;

/// What may not come up in a shorter run: it takes a rare meeting of people, or an undisturbed moment.
const SELDOM: [&str; 5] = ["S7", "M7", "D2", "D4", "Q8"];

/// Prints the report; true if every invariant holds and, in a whole run, was checked.
pub fn print(history: &History, verdicts: &[Verdict]) -> bool {
    let (ops, setup) = (history.ops.len(), &history.setup);
    println!("\n{ops} operations of seed {}, Redis {}:", setup.seed, setup.topology);
    let mut ops: BTreeMap<&str, [u64; 3]> = BTreeMap::new();
    for op in &history.ops {
        let column = match op.outcome {
            Outcome::Ok { .. } => 0,
            Outcome::Fail { .. } => 1,
            Outcome::Info { .. } => 2,
        };
        ops.entry(name(&op.call)).or_default()[column] += 1;
    }
    println!("  {:<14} {:>9} {:>9} {:>9}", "", "ok", "refused", "unclear");
    for (name, [ok, fail, info]) in ops {
        println!("  {name:<14} {ok:>9} {fail:>9} {info:>9}");
    }

    let mut faults: BTreeMap<&str, u64> = BTreeMap::new();
    for fault in &history.faults {
        *faults.entry(&fault.kind).or_default() += 1;
    }
    println!("\n{} faults of {} kinds:", history.faults.len(), faults.len());
    for (kind, count) in faults {
        println!("  {count:>3} {kind}");
    }

    println!(
        "\nThe machine stalled {} times, for {} ms in all: R5 judges nothing then.",
        history.stalls.len(),
        history.stalls.iter().map(|stall| (stall.to_us - stall.from_us) / 1000).sum::<u64>()
    );
    println!("{} samples of the lines. Invariants, with the facts checked:", history.samples.len());
    let ended_us = history.ops.iter().map(|op| op.returned_us).max().unwrap_or(0);
    let mut good = true;
    for verdict in verdicts {
        let Verdict { invariant, checked, violations } = verdict;
        let said = match (violations.len(), *checked) {
            (0, 0) => "NOTHING CHECKED".to_owned(),
            (0, _) => "holds".to_owned(),
            (count, _) => format!("VIOLATED at least {count} times"),
        };
        println!("  {invariant:<3} {checked:>9}  {said}");
        let may_be_missed = (1..WHOLE_US).contains(&ended_us) && SELDOM.contains(invariant);
        good &= violations.is_empty() && (*checked > 0 || may_be_missed);
    }
    for Verdict { invariant, violations, .. } in verdicts {
        for violation in violations {
            println!("\n{invariant}: {violation}");
        }
    }
    good
}

fn name(call: &Call) -> &'static str {
    match call {
        Call::Join { .. } => "join",
        Call::Poll { .. } => "poll",
        Call::Leave { .. } => "leave",
        Call::Dates { .. } => "dates",
        Call::Seats { .. } => "seats",
        Call::Reserve { .. } => "reserve",
        Call::Release { .. } => "release",
        Call::Charge { .. } => "charge",
        Call::Balance { .. } => "balance",
        Call::Pay { .. } => "pay",
        Call::Reservations { .. } => "reservations",
    }
}

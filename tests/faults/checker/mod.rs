//! Judges a history: every invariant of a sale by name, what was compared, and what broke it.
//!
//! * **Certain and possible.** A fact is certain from the `return` of the answer that told it until
//!   the `invoke` of the request that may have ended it. An operation without a clear answer may
//!   have happened at any later time, or never. So what is found here did happen.
//! * **Loss.** Where an invariant allows for Redis having lost data, a fault that can drop data
//!   excuses what lies around it, and no other fault does.
//! * **Nothing checked is no success.** [`Verdict::checked`] counts what was really compared.

mod answers;
mod index;
mod line;
mod money;
mod repetition;
mod seats;

use crate::history::History;
use index::Index;

/// What is kept of the violations of one invariant.
const VIOLATIONS_MAX: usize = 20;

/// What was found about one invariant.
#[derive(Debug, Clone)]
pub struct Verdict {
    pub invariant: &'static str,
    /// How many facts were compared; 0 shows nothing.
    pub checked: u64,
    /// The first violations, for people.
    pub violations: Vec<String>,
}

impl Verdict {
    fn new(invariant: &'static str) -> Self {
        Self { invariant, checked: 0, violations: Vec::new() }
    }

    /// Counts one comparison, and keeps `what` if it does not hold.
    fn expect(&mut self, holds: bool, what: impl FnOnce() -> String) {
        self.checked += 1;
        if !holds && self.violations.len() < VIOLATIONS_MAX {
            self.violations.push(what());
        }
    }
}

/// Every invariant, in the order of the list.
pub fn check(history: &History) -> Vec<Verdict> {
    let index = Index::new(history);
    [
        seats::check(&index),
        money::check(&index),
        repetition::check(&index),
        line::check(&index),
        answers::check(&index),
    ]
    .concat()
}

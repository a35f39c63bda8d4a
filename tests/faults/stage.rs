//! What one run is made of: how long, which faults, and what its clients are like.

use std::path::PathBuf;
use std::time::Duration;

use crate::clients::Habit;
use crate::faults::{Kind, Link};
use crate::mutants::list::Protection;
use crate::topology::Topology;

/// The conditions of a run; with the commit, they reproduce it.
#[derive(Debug, Clone)]
pub struct Stage {
    pub name: &'static str,
    pub seed: u64,
    pub topology: Topology,
    /// How long clients buy.
    pub load: Duration,
    /// The faults that happen meanwhile.
    pub kinds: &'static [Kind],
    /// The links that break; none: any.
    pub link: Option<Link>,
    /// The time between faults; none: the usual ones.
    pub between: Option<Duration>,
    /// How long everything is left alone before the final reads.
    pub rest: Duration,
    pub habit: Habit,
}

/// A stage with what is taken out of the servers in it, and the folder of its history and logs.
pub struct Plan {
    pub stage: Stage,
    pub out: Vec<&'static Protection>,
    pub folder: PathBuf,
}

impl Stage {
    /// Every kind of fault that can befall such a Redis.
    pub fn of_all_faults(seed: u64, load: Duration, topology: Topology) -> Self {
        let kinds = Kind::ALL.iter().copied().filter(|kind| kind.befalls(topology));
        Self {
            name: "all faults",
            seed,
            topology,
            load,
            // Once in the life of the process.
            kinds: kinds.collect::<Vec<_>>().leak(),
            link: None,
            between: None,
            // The longest that a statement, a lease or a hold of the load can still be under way.
            rest: Duration::from_secs(9),
            habit: Habit::Usual,
        }
    }
}

//! The runs in which a missing protection shows: as short as they can be, each for its own purpose.

use std::time::Duration;

use crate::clients::Habit;
use crate::faults::{Kind, Link};
use crate::stage::Stage;
use crate::topology::Topology;

/// Nothing breaks, a crowd of the usual kind.
const CALM: Stage = Stage {
    name: "calm",
    seed: 1,
    topology: Topology::Alone,
    load: Duration::from_secs(12),
    kinds: &[],
    link: None,
    between: Some(Duration::from_secs(1)),
    rest: Duration::from_secs(4),
    habit: Habit::Usual,
};

pub static STAGES: [Stage; 8] = [
    CALM,
    Stage { name: "buyers", seed: 1, habit: Habit::Buys, ..CALM },
    // What PostgreSQL did is not heard of, so a statement is sent again.
    Stage {
        name: "answers lost",
        seed: 2,
        load: Duration::from_secs(25),
        kinds: &[Kind::LinkCutAnswers],
        link: Some(Link::Postgres),
        habit: Habit::Buys,
        ..CALM
    },
    // Redis comes back without its last writes.
    Stage {
        name: "tail lost",
        seed: 3,
        load: Duration::from_secs(40),
        kinds: &[Kind::RedisTailCut],
        between: Some(Duration::from_secs(3)),
        habit: Habit::Covets,
        ..CALM
    },
    // Redis drops keys under a server that does not notice.
    Stage {
        name: "marks lost",
        seed: 4,
        load: Duration::from_secs(25),
        kinds: &[Kind::RedisEvicts],
        habit: Habit::Covets,
        ..CALM
    },
    // Those who hold something put off paying, again and again.
    Stage {
        name: "dawdlers",
        seed: 5,
        load: Duration::from_secs(30),
        habit: Habit::Dawdles,
        ..CALM
    },
    // Whoever pays goes away before the answer, and does not come back.
    Stage { name: "hang-ups", seed: 6, habit: Habit::HangsUp, ..CALM },
    // Whoever may buy tries to hold more than one may.
    Stage { name: "grabbers", seed: 7, habit: Habit::Grabs, ..CALM },
];

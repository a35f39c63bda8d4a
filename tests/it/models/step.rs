//! The steps of a case, how likely each is, and which call a step becomes in a given state.
//!
//! A step names things by small numbers that are looked up when it is its turn ("the second active
//! token"), so that a shorter list of steps still means something.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::subsequence;
use uuid::Uuid;

use super::call::{
    Arrivals, Call, HoldRequest, NEVER, OrderRequest, ReleaseRequest, SEATS, Terms, Why,
};
use super::model::{Hold, Model};

/// What an operator may change.
const SETTINGS: &[&str] =
    &["capacity", "batch", "paused", "message", "opens_at", "closes_at", "beacon"];

/// One step, and whether its call is made twice.
#[derive(Debug, Clone)]
pub struct Act {
    pub step: Step,
    pub twice: bool,
}

impl Act {
    pub fn once(step: Step) -> Self {
        Self { step, twice: false }
    }
}

#[derive(Debug, Clone)]
pub enum Step {
    /// User numbers; 0 is anonymous.
    Arrive {
        who: Vec<u64>,
        early: bool,
        belief: Belief,
    },
    Settle {
        floor: Floor,
        remembers: bool,
    },
    /// A draw of a new id, if there is none; the server's catalogue may say that it is open.
    Draw {
        round: bool,
        early: bool,
    },
    ReadBoard {
        after: u64,
        limit: usize,
    },
    /// A server, and how often it was polled.
    Sample {
        server: usize,
        polls: u64,
    },
    /// Settings with numbers that stand for their values.
    Configure {
        changes: Vec<(&'static str, u32)>,
    },
    Promote {
        capacity: u32,
        batch: u32,
        early: bool,
        knows: Knows,
        belief: Belief,
    },
    /// 0 claims for nobody but the token's own user.
    Claim {
        at: Aim,
        user: u64,
    },
    Leave {
        at: Aim,
        asker: u64,
        knows: bool,
    },
    Clear,
    /// 0 holds for the token's own user.
    Hold {
        at: Aim,
        user: u64,
        day: usize,
        seats: Vec<u32>,
        belief: Belief,
    },
    Release {
        hold: usize,
        whose: Whose,
        given_up: bool,
    },
    /// An operator's: of all seats of a day, whoever holds them; as they were before, if not now.
    ReleaseAll {
        day: usize,
        now: bool,
    },
    Sweep {
        day: usize,
    },
    List {
        day: usize,
    },
    Dates,
    Holds {
        user: u64,
    },
    Restore {
        day: usize,
        seats: Vec<u32>,
        lock: Lock,
    },
    Correct {
        day: usize,
        seats: Vec<u32>,
        seen: bool,
    },
    Withhold {
        day: usize,
        seats: Vec<u32>,
        belief: Belief,
    },
    GiveBack {
        day: usize,
        seats: Vec<u32>,
        belief: Belief,
    },
    Rewithhold {
        day: usize,
        seats: Vec<u32>,
        lock: Lock,
    },
    Begin {
        at: Aim,
        user: u64,
    },
    Cancel {
        attempt: usize,
    },
    Finish {
        at: Aim,
        unknown_seat: Option<(usize, u32)>,
    },
    Rebuild {
        id: u128,
    },
    Seal {
        id: u128,
    },
    /// Another server than the one that rebuilt gives settings back.
    SealLate,
    /// An earlier call once more, with all that came between.
    Again {
        back: usize,
    },
    /// The rest are no calls: what happens to the store.
    Pass {
        steps: i64,
    },
    ForgetScripts,
    Set {
        knob: &'static str,
        value: &'static str,
    },
    LoseEpoch,
    LoseSeq,
    AnotherProcess,
    LoseDraw,
    /// What was written since the opening.
    LoseFreeze,
    /// A failover forgets a promotion.
    RollBack {
        at: Aim,
    },
}

/// What the caller believes of run, epoch and numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Belief {
    Right,
    OtherEpoch,
    OtherRun,
}

/// What the caller knows of the draw.
#[derive(Debug, Clone, Copy)]
pub enum Knows {
    Nothing,
    Where,
    /// It believes so many ranks more, or fewer, to be done.
    Wrong(i8),
    Another,
}

#[derive(Debug, Clone, Copy)]
pub enum Floor {
    Nothing,
    Known,
    Higher,
}

#[derive(Debug, Clone, Copy)]
pub enum Lock {
    None,
    Rebuilding,
    Other,
}

/// What a release names: holds as they are, the same by somebody who has them not, or earlier
/// reservations of the same person for the same seats.
#[derive(Debug, Clone, Copy)]
pub enum Whose {
    Holder,
    Stranger,
    Former,
}

/// Which place: the how-manyth of those that are active, that wait, or that were ever given.
#[derive(Debug, Clone, Copy)]
pub enum Aim {
    Active(usize),
    Waiting(usize),
    Ever(usize),
}

impl Aim {
    pub fn place(self, model: &Model) -> u64 {
        let nth = |places: Vec<u64>, n: usize| {
            let index = n.checked_rem(places.len());
            index.map(|index| places[index])
        };
        let found = match self {
            Self::Active(n) => nth(model.active.keys().copied().collect(), n),
            Self::Waiting(n) => nth(model.waiting.keys().copied().collect(), n),
            Self::Ever(n) => nth(model.given.iter().copied().collect(), n),
        };
        found.unwrap_or(1)
    }
}

/// Gives every call ids that no other call of the case has.
#[derive(Debug)]
pub struct Ids(pub u128);

impl Ids {
    fn fresh(&mut self) -> Uuid {
        self.0 += 1;
        Uuid::from_u128(self.0)
    }

    fn of_each(&mut self, seats: &[u32]) -> Vec<(u32, Uuid)> {
        seats.iter().map(|seat| (*seat, self.fresh())).collect()
    }
}

/// What a step is looked up in.
pub struct Now<'a> {
    pub model: &'a Model,
    pub ids: &'a mut Ids,
    pub calls: &'a [Call],
}

impl Now<'_> {
    fn owner(&self, place: u64) -> Option<u64> {
        self.model.active.get(&place).and_then(|token| token.owner)
    }

    fn user_or_owner(&self, user: u64, place: u64) -> Option<u64> {
        Some(user).filter(|user| *user > 0).or_else(|| self.owner(place))
    }

    fn draw_as(&mut self, knows: Knows) -> Option<(Uuid, String, u64)> {
        let draw = self.model.draw.as_ref()?;
        let segments = draw.frozen.as_ref()?.segments.clone();
        Some(match knows {
            Knows::Nothing => return None,
            Knows::Where => (draw.id, segments, draw.cursor),
            Knows::Wrong(by) => (draw.id, segments, draw.cursor.saturating_add_signed(by.into())),
            Knows::Another => (self.ids.fresh(), segments, draw.cursor),
        })
    }

    fn lock(&self, lock: Lock) -> Option<Uuid> {
        match lock {
            Lock::None => None,
            Lock::Rebuilding => self.model.rebuild.as_ref().and_then(|(id, _)| id.parse().ok()),
            Lock::Other => Some(Uuid::from_u128(99)),
        }
    }

    fn order(&mut self, day: usize, seats: &[u32], belief: Belief) -> OrderRequest {
        let (run, epoch) = self.believed(belief);
        OrderRequest { run, epoch, day, id: self.ids.fresh(), seats: seats.to_vec() }
    }

    /// Run and epoch.
    fn believed(&self, belief: Belief) -> (String, String) {
        let (run, epoch) = (self.model.run.clone(), self.model.epoch.clone());
        match belief {
            Belief::Right => (run, epoch.unwrap_or_default()),
            Belief::OtherEpoch => (run, "another".to_owned()),
            Belief::OtherRun => ("another".to_owned(), epoch.unwrap_or_default()),
        }
    }
}

impl Step {
    /// The call of this step; `None` if it is none, or there is nothing to call it with.
    pub fn call(&self, now: &mut Now) -> Option<Call> {
        match self {
            Self::Again { back } => {
                let index = now.calls.len().checked_sub(1 + back)?;
                // An old floor says nothing about numbers that were lost since.
                Some(now.calls[index].clone()).filter(|call| !matches!(call, Call::Settle { .. }))
            }
            Self::Pass { .. }
            | Self::ForgetScripts
            | Self::Set { .. }
            | Self::LoseEpoch
            | Self::LoseSeq
            | Self::AnotherProcess
            | Self::LoseDraw
            | Self::LoseFreeze
            | Self::RollBack { .. } => None,
            _ => self
                .queue_call(now)
                .or_else(|| self.seat_call(now))
                .or_else(|| self.payment_call(now)),
        }
    }

    /// Of the waiting line.
    fn queue_call(&self, now: &mut Now) -> Option<Call> {
        Some(match self {
            Self::Arrive { who, early, belief } => Call::Enter(Arrivals {
                group: now.ids.fresh(),
                floor: now.model.highest + u64::from(*belief == Belief::OtherRun),
                epoch: now.believed(*belief).1,
                who: who.iter().map(|user| Some(*user).filter(|user| *user > 0)).collect(),
                has_draw: now.model.remembered.is_some(),
                early: *early,
            }),
            // Nobody settles a line that lost its counter without knowing its numbers: see D4.
            Self::Settle { floor, remembers } => Call::Settle {
                draw: now.model.remembered.clone().filter(|_| *remembers),
                floor: match floor {
                    Floor::Nothing if now.model.seq.is_some() => 0,
                    Floor::Nothing | Floor::Known => now.model.highest,
                    Floor::Higher => now.model.highest + 5,
                },
            },
            Self::ReadBoard { after, limit } => Call::Board { after: *after, limit: *limit },
            Self::Sample { server, polls } => Call::Sample { server: *server, polls: *polls },
            Self::Configure { changes } => Call::Configure { changes: changes.clone() },
            Self::Draw { round, early } => {
                Call::Draw { id: now.ids.fresh(), round: *round, early: *early }
            }
            Self::Promote { capacity, batch, early, knows, belief } => {
                let (run, epoch) = now.believed(*belief);
                let (capacity, batch, early) = (*capacity, *batch, *early);
                let drawn = now.draw_as(*knows);
                Call::Promote(Terms { run, epoch, capacity, batch, early, drawn })
            }
            Self::Claim { at, user } => {
                let place = at.place(now.model);
                Call::Claim { place, user: now.user_or_owner(*user, place) }
            }
            Self::Leave { at, asker, knows } => {
                let place = at.place(now.model);
                let user = if *knows { now.owner(place) } else { Some(9) };
                let asker = Some(*asker).filter(|asker| *asker > 0);
                Call::Leave { place, user, asker, version: now.ids.fresh() }
            }
            Self::Clear => Call::Clear { id: now.ids.fresh() },
            _ => return None,
        })
    }

    /// Of the seats.
    fn seat_call(&self, now: &mut Now) -> Option<Call> {
        Some(match self {
            Self::Hold { at, user, day, seats, belief } => {
                let place = at.place(now.model);
                let user = now.user_or_owner(*user, place).unwrap_or(1);
                let (run, epoch) = now.believed(*belief);
                let (day, version, seats) = (*day, now.ids.fresh(), now.ids.of_each(seats));
                Call::Hold(HoldRequest { run, epoch, place, user, day, version, seats })
            }
            Self::Release { hold, whose, given_up } => {
                let of_people = || now.model.holds.iter().filter(|(_, hold)| hold.deadline < NEVER);
                let index = hold.checked_rem(of_people().count())?;
                let (at, hold) = of_people().nth(index)?;
                let of_his = now.model.holds.iter().filter(|(other, other_hold)| {
                    (other.0, other_hold.place) == (at.0, hold.place)
                });
                let mut seats: Vec<_> = of_his.map(|(at, hold)| hold.named(at.1)).collect();
                for named in &mut seats {
                    match whose {
                        Whose::Holder => {}
                        Whose::Stranger => named.user = 9,
                        Whose::Former => named.reservation = now.ids.fresh(),
                    }
                }
                let why = if *given_up { Why::GivenUp } else { Why::Asked };
                Call::Release(ReleaseRequest { day: at.0, why, version: now.ids.fresh(), seats })
            }
            Self::ReleaseAll { day, now: as_now } => {
                let is_there =
                    |at: &(usize, u32), hold: &Hold| at.0 == *day && hold.deadline < NEVER;
                let all = now.model.holds.iter().filter(|(at, hold)| is_there(at, hold));
                let mut seats: Vec<_> = all.map(|(at, hold)| hold.named(at.1)).collect();
                if !as_now {
                    seats.first_mut()?.reservation = now.ids.fresh();
                }
                let (day, why) = (*day, Why::ByOperator);
                Call::Release(ReleaseRequest { day, why, version: now.ids.fresh(), seats })
            }
            Self::Sweep { day } => Call::Sweep { day: *day, version: now.ids.fresh() },
            Self::List { day } => Call::List { day: *day },
            Self::Dates => Call::Dates,
            Self::Holds { user } => Call::Holds { user: *user },
            Self::Restore { day, seats, lock } => Call::Restore {
                day: *day,
                lock: now.lock(*lock),
                version: now.ids.fresh(),
                seats: seats.clone(),
            },
            Self::Correct { day, seats, seen } => Call::Correct {
                day: *day,
                seen: if *seen { now.model.versions.get(day).cloned() } else { Some("old".into()) },
                version: now.ids.fresh(),
                seats: seats.clone(),
            },
            Self::Withhold { day, seats, belief } => {
                Call::Withhold(now.order(*day, seats, *belief))
            }
            Self::GiveBack { day, seats, belief } => {
                Call::GiveBack(now.order(*day, seats, *belief))
            }
            Self::Rewithhold { day, seats, lock } => Call::Rewithhold {
                day: *day,
                lock: now.lock(*lock),
                id: now.ids.fresh(),
                seats: seats.clone(),
            },
            _ => return None,
        })
    }

    /// Of payments and the recovery.
    fn payment_call(&self, now: &mut Now) -> Option<Call> {
        Some(match self {
            Self::Begin { at, user } => {
                let place = at.place(now.model);
                let user = now.user_or_owner(*user, place).unwrap_or(1);
                Call::Begin { place, user, attempt: now.ids.fresh() }
            }
            Self::Cancel { attempt } => {
                let of = |(place, paying): (&u64, &super::model::Paying)| {
                    let place = *place;
                    paying.attempts.keys().map(move |id| (place, *id)).collect::<Vec<_>>()
                };
                let all: Vec<_> = now.model.paying.iter().flat_map(of).collect();
                let (place, attempt) = all[attempt.checked_rem(all.len())?];
                Call::Cancel { place, attempt }
            }
            Self::Finish { at, unknown_seat } => {
                let place = at.place(now.model);
                let waits = now.model.waiting.get(&place).copied().flatten();
                let his = now.model.holds.iter().filter(|(_, hold)| hold.place == place);
                let mut seats: Vec<_> = his.map(|(at, hold)| (*at, hold.reservation)).collect();
                let unknown =
                    unknown_seat.filter(|at| !now.model.holds.contains_key(at) || seats.is_empty());
                seats.extend(unknown.map(|at| (at, now.ids.fresh())));
                if seats.is_empty() {
                    return None;
                }
                seats.sort_unstable();
                let user = now.owner(place).or(waits).unwrap_or(1);
                Call::Finish { place, user, version: now.ids.fresh(), seats }
            }
            Self::Rebuild { id } => Call::Rebuild { id: Uuid::from_u128(*id) },
            Self::Seal { id } => Call::Seal {
                id: Some(Uuid::from_u128(*id)),
                epoch: now.ids.fresh().to_string(),
                settings: vec![("batch".into(), "2".into()), ("capacity".into(), "3".into())],
            },
            Self::SealLate => Call::Seal {
                id: None,
                epoch: now.model.epoch.clone()?,
                settings: vec![("paused".into(), "0".into())],
            },
            _ => return None,
        })
    }
}

fn aim() -> impl Strategy<Value = Aim> {
    prop_oneof![
        8 => (0..4_usize).prop_map(Aim::Active),
        2 => (0..4_usize).prop_map(Aim::Waiting),
        1 => (0..8_usize).prop_map(Aim::Ever),
    ]
}

fn somebody() -> impl Strategy<Value = u64> {
    prop_oneof![5 => Just(0_u64), 2 => 1..=4_u64]
}

fn belief() -> impl Strategy<Value = Belief> {
    prop_oneof![
        12 => Just(Belief::Right), 1 => Just(Belief::OtherEpoch), 1 => Just(Belief::OtherRun)
    ]
}

fn whose() -> impl Strategy<Value = Whose> {
    prop_oneof![8 => Just(Whose::Holder), 1 => Just(Whose::Stranger), 1 => Just(Whose::Former)]
}

fn seats() -> impl Strategy<Value = Vec<u32>> {
    subsequence((1..=SEATS).collect::<Vec<_>>(), 1..=SEATS as usize)
}

fn day() -> impl Strategy<Value = usize> {
    prop_oneof![1 => Just(0_usize), 10 => Just(1_usize), 6 => Just(2_usize)]
}

/// Somebody gives up a place.
pub fn leaving() -> BoxedStrategy<Step> {
    (aim(), somebody(), prop::bool::weighted(0.9))
        .prop_map(|(at, asker, knows)| Step::Leave { at, asker, knows })
        .boxed()
}

/// Steps of the waiting line.
pub fn line() -> BoxedStrategy<Step> {
    let floor =
        prop_oneof![2 => Just(Floor::Nothing), 2 => Just(Floor::Known), 1 => Just(Floor::Higher)];
    prop_oneof![
        6 => (vec(prop_oneof![1 => Just(0_u64), 2 => 1..=4_u64], 1..=5), early(), belief())
            .prop_map(|(who, early, belief)| Step::Arrive { who, early, belief }),
        1 => (floor, any::<bool>())
            .prop_map(|(floor, remembers)| Step::Settle { floor, remembers }),
        1 => (prop::bool::weighted(0.3), early()).prop_map(|(round, early)| Step::Draw { round, early }),
        2 => (0..4_u64, 1..4_usize).prop_map(|(after, limit)| Step::ReadBoard { after, limit }),
        1 => (subsequence(SETTINGS.to_vec(), 1..=4), 0..4_u32).prop_map(|(settings, value)| {
            let changes = settings.into_iter().map(|setting| (setting, value)).collect();
            Step::Configure { changes }
        }),
        6 => (0..6_u32, 0..5_u32, prop::bool::weighted(0.05), knows(), belief()).prop_map(
            |(capacity, batch, early, knows, belief)| {
                Step::Promote { capacity, batch, early, knows, belief }
            }
        ),
        6 => (aim(), somebody()).prop_map(|(at, user)| Step::Claim { at, user }),
        4 => leaving(),
        1 => Just(Step::Clear),
        1 => (
            prop::sample::select(vec!["capacity", "batch", "paused", "opens_at"]),
            prop::sample::select(vec!["0", "1", "2", "3", "x", "10000001"]),
        ).prop_map(|(knob, value)| Step::Set { knob, value }),
        1 => aim().prop_map(|at| Step::RollBack { at }),
        1 => Just(Step::LoseSeq),
        1 => Just(Step::AnotherProcess),
    ]
    .boxed()
}

/// Steps of a line that begins with a lottery: few of them, so that it is drawn and goes on.
pub fn lottery() -> BoxedStrategy<Step> {
    prop_oneof![
        4 => (vec(prop_oneof![1 => Just(0_u64), 2 => 1..=4_u64], 1..=5), early())
            .prop_map(|(who, early)| Step::Arrive { who, early, belief: Belief::Right }),
        3 => early().prop_map(|early| Step::Draw { round: false, early }),
        8 => (0..6_u32, 0..5_u32, knows()).prop_map(|(capacity, batch, knows)| Step::Promote {
            capacity, batch, early: false, knows, belief: Belief::Right
        }),
        2 => (Just(0), 1..4_usize).prop_map(|(after, limit)| Step::ReadBoard { after, limit }),
        3 => (prop_oneof![1 => (0..4_usize).prop_map(Aim::Active), 2 => (0..4_usize).prop_map(Aim::Waiting)])
            .prop_map(|at| Step::Leave { at, asker: 0, knows: true }),
        1 => Just(Step::Clear),
        1 => (1..3_u32).prop_map(|value| Step::Configure { changes: vec![("beacon", value)] }),
        1 => (0..3_u32).prop_map(|value| Step::Configure { changes: vec![("opens_at", value)] }),
        1 => Just(Step::Settle { floor: Floor::Higher, remembers: true }),
        1 => prop_oneof![Just(Step::LoseDraw), Just(Step::LoseFreeze), Just(Step::AnotherProcess)],
        1 => aim().prop_map(|at| Step::RollBack { at }),
        3 => Just(Step::Pass { steps: 1 }),
    ]
    .boxed()
}

/// A lottery that is committed to, and the first who come to it.
pub fn before_a_lottery(round: bool) -> Vec<Step> {
    let (early, belief) = (true, Belief::Right);
    vec![
        Step::Draw { round, early },
        Step::Arrive { who: vec![1, 2, 3, 4, 5, 6, 7, 8], early, belief },
    ]
}

fn early() -> impl Strategy<Value = bool> {
    prop::bool::weighted(0.6)
}

fn knows() -> impl Strategy<Value = Knows> {
    prop_oneof![
        8 => Just(Knows::Where),
        1 => Just(Knows::Nothing),
        1 => Just(Knows::Another),
        2 => (-3..3_i8).prop_map(Knows::Wrong),
    ]
}

/// Steps about seats.
pub fn seat_steps() -> BoxedStrategy<Step> {
    let lock = || prop_oneof![Just(Lock::None), Just(Lock::Rebuilding), Just(Lock::Other)];
    prop_oneof![
        12 => (aim(), somebody(), day(), seats(), belief()).prop_map(
            |(at, user, day, seats, belief)| Step::Hold { at, user, day, seats, belief }
        ),
        4 => (0..6_usize, whose(), any::<bool>())
            .prop_map(|(hold, whose, given_up)| Step::Release { hold, whose, given_up }),
        2 => (day(), prop::bool::weighted(0.8))
            .prop_map(|(day, now)| Step::ReleaseAll { day, now }),
        2 => day().prop_map(|day| Step::Sweep { day }),
        2 => day().prop_map(|day| Step::List { day }),
        1 => Just(Step::Dates),
        2 => (1..=4_u64).prop_map(|user| Step::Holds { user }),
        2 => (day(), seats(), lock())
            .prop_map(|(day, seats, lock)| Step::Restore { day, seats, lock }),
        2 => (day(), seats(), prop::bool::weighted(0.8))
            .prop_map(|(day, seats, seen)| Step::Correct { day, seats, seen }),
        2 => (day(), seats(), belief())
            .prop_map(|(day, seats, belief)| Step::Withhold { day, seats, belief }),
        3 => (day(), seats(), belief())
            .prop_map(|(day, seats, belief)| Step::GiveBack { day, seats, belief }),
        1 => (day(), seats(), lock())
            .prop_map(|(day, seats, lock)| Step::Rewithhold { day, seats, lock }),
    ]
    .boxed()
}

/// Steps about payments, and of the recovery.
pub fn payment_steps() -> BoxedStrategy<Step> {
    let unknown = proptest::option::weighted(0.3, (1..3_usize, 1..=SEATS));
    prop_oneof![
        6 => (aim(), somebody()).prop_map(|(at, user)| Step::Begin { at, user }),
        3 => (0..4_usize).prop_map(|attempt| Step::Cancel { attempt }),
        3 => (aim(), unknown).prop_map(|(at, unknown_seat)| Step::Finish { at, unknown_seat }),
        2 => (1..3_u128).prop_map(|id| Step::Rebuild { id }),
        2 => (1..3_u128).prop_map(|id| Step::Seal { id }),
        1 => Just(Step::SealLate),
        1 => Just(Step::LoseEpoch),
    ]
    .boxed()
}

/// What happens around every script.
pub fn around() -> BoxedStrategy<Step> {
    prop_oneof![
        5 => prop_oneof![3 => Just(1_i64), 1 => 2..5_i64]
            .prop_map(|steps| Step::Pass { steps }),
        1 => Just(Step::ForgetScripts),
        2 => (0..8_usize).prop_map(|back| Step::Again { back }),
        2 => (0..3_usize, 0..9_u64).prop_map(|(server, polls)| Step::Sample { server, polls }),
    ]
    .boxed()
}

/// A case of steps, each made twice in one of three times.
pub fn case(steps: BoxedStrategy<Step>) -> impl Strategy<Value = Vec<Act>> {
    let act = (steps, prop::bool::weighted(0.3)).prop_map(|(step, twice)| Act { step, twice });
    vec(act, 1..=40)
}

/// Four people who are inside, three named, one anonymous, and one who has not used the turn yet.
pub fn inside() -> Vec<Step> {
    let mut steps = vec![
        Step::Arrive { who: vec![1, 2, 0, 3, 4], early: false, belief: Belief::Right },
        Step::Promote {
            capacity: 5,
            batch: 5,
            early: false,
            knows: Knows::Nothing,
            belief: Belief::Right,
        },
    ];
    steps.extend((0..4).map(|n| Step::Claim { at: Aim::Active(n), user: 0 }));
    steps
}

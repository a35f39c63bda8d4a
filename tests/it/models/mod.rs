//! Every script in `lua/` against a plain model: random steps, and after each of them the answer and
//! everything that Redis holds must be what the model says.
//!
//! Three machines cross the scripts of a slice with what they meet: the line, seats (by people who
//! are inside), payments (with the holds they pay for); the journey takes all steps together. A call
//! may be made twice at once, or again after others; scripts are forgotten between two calls; the
//! epoch, the counter of places and promotions get lost.
//!
//! Redis' clock is the only clock, and nobody waits for it: when time passes, every time that Redis
//! stores is moved into the past. Times are compared in units far longer than a case takes. So that
//! the real milliseconds of a case decide nothing, no two times of one unit are ever compared by a
//! script except with the present (lives are even, the session and a payment's extension odd), and
//! the pace is kept half a step ahead of the clock.
//!
//! `PROPTEST_CASES=2000 cargo test --test it models::` runs longer. A failure prints the shortest
//! list of steps that it found.

mod call;
mod draw_rules;
mod model;
mod payment_rules;
mod queue_rules;
mod seat_rules;
mod step;
mod world;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::Ordering;

use proptest::prelude::*;
use proptest::test_runner::{TestError, TestRng, TestRunner};

use call::Call;
use model::{Model, State};
use step::{Act, Aim, Belief, Floor, Ids, Knows, Now, Step};
use world::World;

/// The last place given when a case begins: far ahead of the clock, which would else decide where a
/// line goes on.
const FIRST_SEQ: u64 = 200_000_000_000_000;

/// Enough to reach every answer, however rare.
const CASES_OF_ANSWERS: u32 = 300;

/// The model and the world side by side.
struct Machine<'a> {
    world: &'a mut World,
    model: Model,
    ids: Ids,
    calls: Vec<Call>,
    /// Script and answer.
    reached: BTreeSet<String>,
}

impl<'a> Machine<'a> {
    async fn begin(world: &'a mut World) -> Self {
        let model = Model::new(&world.turn, FIRST_SEQ);
        world.begin("epoch-0", FIRST_SEQ).await;
        let (ids, calls, reached) = (Ids(1000), Vec::new(), BTreeSet::new());
        let mut machine = Self { world, model, ids, calls, reached };
        machine.call(&Call::Settle { floor: 0, draw: None }).await;
        machine
    }

    async fn act(&mut self, act: &Act) {
        let mut now = Now { model: &self.model, ids: &mut self.ids, calls: &self.calls };
        let call = act.step.call(&mut now);
        let Some(call) = call else {
            self.happen(&act.step).await;
            return;
        };
        self.call(&call).await;
        if act.twice {
            let before = self.model.state();
            self.call(&call).await;
            // The one script whose repetition is another tick.
            if !matches!(call, Call::Promote(_)) {
                let after = self.world.state().await;
                assert_eq!(difference(&before, &after), "", "{call:?} changed something twice");
            }
        }
        self.calls.push(call);
    }

    async fn call(&mut self, call: &Call) {
        // The first call that Redis does not know is answered by settling, by its source.
        if self.world.scripts_are_forgotten && !matches!(call, Call::Settle { .. }) {
            self.model.settle(self.model.highest);
            self.world.scripts_are_forgotten = false;
        }
        let (waiting, active) = (self.model.waiting.clone(), self.model.active.clone());
        let expected = self.model.answer(call);
        let answer = self.world.answer(call).await;
        assert_eq!(answer, expected, "the answer of {} to {call:?}", call.script());
        let tag = answer.split(' ').next().unwrap_or_default();
        self.reached.insert(format!("{} {tag}", call.script()));
        self.compare(&format!("{call:?}")).await;
        if let Call::Promote(terms) = call {
            let in_service = |place: &u64| self.model.in_service(*place);
            let promoted = waiting.keys().filter(|place| !self.model.waiting.contains_key(place));
            let last = promoted.map(in_service).max().unwrap_or(0);
            let next = self.model.waiting.keys().map(in_service).min().unwrap_or(u64::MAX);
            assert!(last < next, "{last} was let in before {next}");
            let knob = self.model.settings.get("capacity").and_then(|text| text.parse().ok());
            let capacity = knob.filter(|n| *n <= 10_000_000).unwrap_or(terms.capacity as usize);
            let most = capacity.max(active.values().filter(|t| t.ends > self.model.now).count());
            assert!(self.model.live_count() <= most, "more than {most} are inside");
        }
    }

    async fn happen(&mut self, step: &Step) {
        let model = &mut self.model;
        let (mut at, mut member) = (0, String::new());
        match step {
            Step::Pass { steps } => model.pass(steps * call::STEP),
            Step::ForgetScripts => self.world.scripts_are_forgotten = true,
            Step::Set { knob, value } => {
                model.settings.insert((*knob).to_owned(), (*value).to_owned());
            }
            Step::LoseEpoch => model.epoch = None,
            Step::LoseSeq => model.seq = None,
            Step::AnotherProcess => "none".clone_into(&mut model.run),
            Step::LoseDraw => model.draw = None,
            Step::LoseFreeze => {
                let Some(draw) = &mut model.draw else { return };
                (draw.frozen, draw.cursor) = (None, 0);
            }
            Step::RollBack { at: aim } => {
                at = aim.place(model);
                let Some(token) = model.live(at).filter(|token| token.claimed == 0) else { return };
                let owner = token.owner;
                model.active.remove(&at);
                model.waiting.insert(at, owner);
                model.roll_back_the_cursor(at);
                member = owner.map_or(at.to_string(), |owner| format!("{at}:{owner}"));
            }
            // Nothing to release, to cancel, to pay or to repeat.
            _ => return,
        }
        let cursor = self.model.draw.as_ref().filter(|draw| draw.frozen.is_some());
        let cursor = cursor.map(|draw| draw.cursor);
        self.world.happen(step, at, &member, cursor).await;
        self.compare(&format!("{step:?}")).await;
    }

    async fn compare(&mut self, after: &str) {
        let difference = difference(&self.model.state(), &self.world.state().await);
        assert_eq!(difference, "", "the state after {after}");
        self.model.check();
        self.model.highest = self.model.highest.max(self.model.seq.unwrap_or(0));
        self.world.floor.store(self.model.highest, Ordering::Relaxed);
    }
}

/// The lines that only one of the states has.
fn difference(model: &State, redis: &State) -> String {
    let only = |one: &State, other: &State, whose: &str| {
        let lines = one.iter().filter(|(key, value)| other.get(*key) != Some(value));
        lines.map(|(key, value)| format!("{whose} {key} = {value}")).collect::<Vec<_>>()
    };
    [only(model, redis, "model:"), only(redis, model, "redis:")].concat().join(", ")
}

/// Runs these cases, after a beginning that all share; the answers that were given.
fn run(
    mut runner: TestRunner,
    first: &[Step],
    cases: &impl Strategy<Value = Vec<Act>>,
) -> BTreeSet<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    let world = RefCell::new(runtime.block_on(World::start()));
    let reached = RefCell::new(BTreeSet::new());
    let outcome = runner.run(cases, |acts| {
        let world = &mut *world.borrow_mut();
        runtime.block_on(async {
            let mut machine = Machine::begin(world).await;
            for act in first.iter().cloned().map(Act::once).chain(acts) {
                machine.act(&act).await;
            }
            reached.borrow_mut().append(&mut machine.reached);
        });
        Ok(())
    });
    match outcome {
        Ok(()) => {}
        Err(TestError::Fail(why, acts)) => {
            let line =
                |act: &Act| format!("{:?}{}\n", act.step, if act.twice { " twice" } else { "" });
            panic!("{why}\nafter:\n{}", acts.iter().map(line).collect::<Vec<_>>().join("\n"));
        }
        Err(TestError::Abort(why)) => panic!("{why}"),
    }
    reached.into_inner()
}

/// As many cases as `PROPTEST_CASES` says.
fn cases(otherwise: u32) -> TestRunner {
    let mut config =
        ProptestConfig { failure_persistence: None, max_shrink_iters: 5000, ..Default::default() };
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = otherwise;
    }
    TestRunner::new(config)
}

fn of_the_line() -> BoxedStrategy<Step> {
    prop_oneof![3 => step::line(), 1 => step::around()].boxed()
}

fn of_seats() -> BoxedStrategy<Step> {
    prop_oneof![
        12 => step::seat_steps(), 2 => step::payment_steps(), 1 => step::leaving(), 4 => step::around()
    ]
    .boxed()
}

fn of_payments() -> BoxedStrategy<Step> {
    prop_oneof![
        6 => step::payment_steps(), 4 => step::seat_steps(), 1 => step::leaving(), 3 => step::around()
    ]
    .boxed()
}

fn of_all() -> BoxedStrategy<Step> {
    prop_oneof![
        4 => step::line(), 4 => step::seat_steps(), 3 => step::payment_steps(), 3 => step::around()
    ]
    .boxed()
}

#[test]
fn the_line_does_what_its_model_says() {
    run(cases(300), &[], &step::case(of_the_line()));
}

#[test]
fn a_lottery_does_what_its_model_says() {
    for round in [false, true] {
        run(cases(150), &step::before_a_lottery(round), &step::case(step::lottery()));
    }
}

/// Two losses: of the draw, so that somebody is let in without one; and of that.
#[test]
fn whoever_was_let_in_before_the_draw_and_waits_again_comes_before_it() {
    let promote = Step::Promote {
        capacity: 1,
        batch: 1,
        early: false,
        knows: Knows::Where,
        belief: Belief::Right,
    };
    let mut steps = step::before_a_lottery(false);
    steps.extend([
        Step::LoseDraw,
        promote.clone(),
        Step::Settle { floor: Floor::Higher, remembers: true },
        Step::Draw { round: false, early: false },
        Step::Pass { steps: 1 },
        Step::RollBack { at: Aim::Active(0) },
        promote.clone(),
        Step::Pass { steps: 2 },
        promote,
    ]);
    run(always_the_same(1), &steps, &Just(Vec::new()));
}

#[test]
fn seats_do_what_their_model_says() {
    run(cases(300), &step::inside(), &step::case(of_seats()));
}

#[test]
fn payments_do_what_their_model_says() {
    run(cases(300), &step::inside(), &step::case(of_payments()));
}

#[test]
fn a_whole_journey_does_what_its_model_says() {
    run(cases(300), &step::inside(), &step::case(of_all()));
}

/// With a seed of their own, so that this says the same every time.
#[test]
fn every_answer_of_every_script_is_reached_by_a_model() {
    let mut reached = BTreeSet::new();
    for (first, steps) in [
        (Vec::new(), of_the_line()),
        (step::before_a_lottery(true), step::lottery()),
        (step::inside(), of_seats()),
        (step::inside(), of_payments()),
    ] {
        reached.extend(run(always_the_same(CASES_OF_ANSWERS), &first, &step::case(steps)));
    }
    assert_eq!(reached, promised());
}

/// Redis forgets all scripts before each single call.
#[test]
fn every_script_does_what_its_model_says_right_after_it_was_forgotten() {
    let cases = step::case(of_all()).prop_map(|acts| {
        let acts = step::inside().into_iter().chain(acts.into_iter().map(|act| act.step));
        acts.flat_map(|step| [Step::ForgetScripts, step].map(Act::once)).collect()
    });
    let reached = run(always_the_same(CASES_OF_ANSWERS), &[], &cases);
    let called: BTreeSet<_> =
        reached.iter().filter_map(|answer| answer.split(' ').next()).collect();
    let all = [onsale::queue::SCRIPTS, onsale::seats::SCRIPTS, onsale::payments::SCRIPTS].concat();
    let all = [all, onsale::ops::SCRIPTS.to_vec()].concat();
    // Settling is sent by its source, so it is not among those that are loaded.
    let all = all.iter().map(|script| script.name).chain(["queue/settle"]);
    assert_eq!(called, all.collect());
}

/// Cases from a fixed seed.
fn always_the_same(cases: u32) -> TestRunner {
    let config = ProptestConfig { failure_persistence: None, cases, ..Default::default() };
    let rng = TestRng::deterministic_rng(config.rng_algorithm);
    TestRunner::new_with_rng(config, rng)
}

/// Every answer that the header of a script in `lua/` promises.
fn promised() -> BTreeSet<String> {
    let mut promised = BTreeSet::new();
    for slice in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("lua")).expect("lua/")
    {
        let slice = slice.expect("an entry").path();
        for script in std::fs::read_dir(&slice).expect("a slice") {
            let path = script.expect("an entry").path();
            let text = std::fs::read_to_string(&path).expect("a script");
            let header = text.split("]]").next().unwrap_or_default();
            let (_, answers) =
                header.split_once("Returns").expect("the header says what it answers");
            let [slice, name] =
                [slice.file_name(), path.file_stem()].map(|name| name.expect("a name").display());
            let tags = answers.split("{\"").skip(1).filter_map(|rest| rest.split('"').next());
            promised.extend(tags.map(|tag| format!("{slice}/{name} {tag}")));
        }
    }
    promised
}

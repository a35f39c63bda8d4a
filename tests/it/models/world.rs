//! The real Redis beside the model: runs the calls, reads everything back, and lets time pass.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::FutureExt;
use onsale::concerts::{Concert, Generation};
use onsale::local::{LocalRedis, RedisOptions};
use onsale::ops::scripts::TakeSample;
use onsale::payments::rebuild::{Rebuild, SealRebuild, TakeRebuild, Taken};
use onsale::payments::scripts::{BeginPayment, Begun, CancelPayment, FinishPayment};
use onsale::payments::{Payment, PaymentSeat};
use onsale::queue::controls::ClearLine;
use onsale::queue::draw::script::{AdvanceDraw, DrawOutcome};
use onsale::queue::draw::seal::Terms as DrawTerms;
use onsale::queue::draw::{Draw, Frozen, Seal, Segments};
use onsale::queue::promotion::{DrawnFrom, Promote, PromoteOutcome, PromoteTick};
use onsale::queue::scripts::{Enter, EnterOutcome, ReadBoard, Settle};
use onsale::queue::settings::{Configure, ConfigureOutcome};
use onsale::queue::token_scripts::{Claim, ClaimOutcome, Leave, LeaveOutcome};
use onsale::queue::{BeaconValue, Change, Message, Moment, SettingsChange};
use onsale::redis::{Key, LuaScript, Redis, RedisConfig, ScriptCall};
use onsale::seats::domain::WITHHELD_UNTIL_MS;
use onsale::seats::scripts::{
    CorrectOutcome, CorrectSold, GiveSeatsBack, HoldOutcome, HoldSeats, HoldTerms, ReadDates,
    ReadHolds, ReadSeats, ReleaseHolds, ReleaseOutcome, RestoreOutcome, RestoreSold,
    RewithholdSeats, SeatsOrder, SweepHolds, WhyReleased, WithholdOutcome, WithholdSeats,
};
use onsale::seats::{HeldSeat, Holder, Holds};
use onsale::words::{Place, SeatNumber, UserId, Won};
use uuid::Uuid;

use super::call::{
    self, ACTIVE_TTL, Arrivals, CLAIM_TTL, COMMITMENT, Call, DAYS, EXTENSION, HARD_EXTRA, HOLD_TTL,
    HoldRequest, LEASE, LOCK, NEVER, Named, OrderRequest, PRICE, ROUND, ReleaseRequest, SEALED,
    SEATS, SEATS_MAX, SESSION_MAX, STEP, TOKEN_EXTRA, Terms, Why, order_of,
};
use super::model::State;
use super::queue_rules::setting_text;
use super::step::Step;
use crate::support::line::{place, user_id};
use crate::support::raw_redis::Answer;
use crate::support::{RawRedis, concert, eventually};

/// One unit of the model's time. A case takes far less, so what Redis' clock moves by itself during
/// a case never reaches the next unit.
const UNIT_MS: i64 = 500_000;

/// Moves every time that is stored `ARGV[1]` ms into the past.
const TIME_PASSES: &str = r"
local by = tonumber(ARGV[1])
local function earlier(ms)
  -- A seat that is withheld is so for ever.
  local is_never = tonumber(ms) == 253402300799999
  return string.format('%.0f', tonumber(ms) - (is_never and 0 or by))
end
for _, key in ipairs(redis.call('KEYS', '*')) do
  local kind = string.match(key, '^{%w+}:(%w+)')
  local ends = redis.call('PEXPIRETIME', key)
  if kind == 'active' or kind == 'held' or kind == 'paying' or kind == 'servers' then
    local entries = redis.call('ZRANGE', key, 0, -1, 'WITHSCORES')
    for i = 1, #entries, 2 do redis.call('ZADD', key, earlier(entries[i + 1]), entries[i]) end
  elseif kind == 'hold' then
    local fields = redis.call('HGETALL', key)
    for i = 1, #fields, 2 do
      if not string.find(fields[i], 'again', 1, true) then
        redis.call('HSET', key, fields[i], (string.gsub(fields[i + 1], '%d+$', earlier)))
      end
    end
  elseif kind == 'token' then
    redis.call('SET', key, (string.gsub(redis.call('GET', key), '%d+$', earlier)), 'KEEPTTL')
  elseif kind == 'pace' then
    redis.call('HSET', key, 'at', earlier(redis.call('HGET', key, 'at')))
  elseif kind == 'draw' then
    for _, field in ipairs({ 'committed_ms', 'frozen_ms' }) do
      local at = redis.call('HGET', key, field)
      if at then redis.call('HSET', key, field, earlier(at)) end
    end
  elseif kind == 'settings' then
    for _, field in ipairs({ 'opens_at', 'closes_at' }) do
      local at = tonumber(redis.call('HGET', key, field) or nil)
      if at and at > 1e12 and at < 4e12 then redis.call('HSET', key, field, earlier(at)) end
    end
  end
  if ends > 0 then redis.call('PEXPIREAT', key, earlier(ends)) end
end
return 0";

/// Every key with its end and its content; a bitmap as the numbers of its bits.
const READ_ALL: &str = r"
local all = {}
for _, key in ipairs(redis.call('KEYS', '*')) do
  local kind, content = redis.call('TYPE', key).ok, {}
  if string.find(key, ':series', 1, true) then
    content = {}
  elseif kind == 'hash' then
    content = redis.call('HGETALL', key)
  elseif kind == 'zset' then
    content = redis.call('ZRANGE', key, 0, -1, 'WITHSCORES')
  elseif string.find(key, ':sold:', 1, true) then
    for seat = 0, 63 do
      if redis.call('GETBIT', key, seat) == 1 then
        content[#content + 1] = tostring(seat)
        content[#content + 1] = '1'
      end
    end
  elseif kind == 'stream' then
    for i, entry in ipairs(redis.call('XRANGE', key, '-', '+')) do
      local of, words = entry[2], {}
      for n = 2, #of, 2 do words[#words + 1] = of[n] end
      content[#content + 1] = tostring(i)
      content[#content + 1] = of[3] == 'setting'
        and words[1] .. ' ' .. words[2] .. ' ' .. words[3] .. '>' .. words[4]
        or table.concat(words, ' ')
    end
  elseif not string.find(key, ':group:', 1, true) then
    content = { '', redis.call('GET', key) }
  end
  all[#all + 1] = { key, redis.call('PEXPIRETIME', key), content }
end
return all";

/// A Redis for one kind of cases, and the connection that runs the scripts.
pub struct World {
    _process: LocalRedis,
    pub raw: RawRedis,
    redis: Redis,
    concert: Arc<Concert>,
    early: Concert,
    /// What a server knows of the numbers given, when it must settle a line.
    pub floor: Arc<AtomicU64>,
    pub turn: String,
    /// The next call is not known to Redis; survives a case.
    pub scripts_are_forgotten: bool,
    /// Redis' clock when the case began, and the units that passed since.
    began_ms: i64,
    passed: i64,
}

impl World {
    pub async fn start() -> Self {
        let process = LocalRedis::throwaway(RedisOptions::throwaway()).await.expect("a Redis");
        let all: Vec<&'static LuaScript> =
            [onsale::queue::SCRIPTS, onsale::seats::SCRIPTS, onsale::payments::SCRIPTS].concat();
        let all = [all, onsale::ops::SCRIPTS.to_vec()].concat();
        // Nothing here is about timeouts.
        let command_timeout = Duration::from_secs(10);
        let config = RedisConfig { command_timeout, ..RedisConfig::new(&process.url()) };
        let redis = Redis::connect(&config, all.leak()).expect("a Redis URL");
        eventually("Redis is up", || async { redis.ping().await.is_ok() }).await;
        let mut raw = RawRedis::connect(process.socket()).await;
        let mut concert = concert(SEATS, 1);
        concert.dates = DAYS.map(|day| day.parse().expect("a date")).to_vec();
        let mut early = concert.clone();
        early.opens_at = Some("2099-01-01T00:00:00+09:00".parse().expect("a time"));
        let (concert, floor) = (Arc::new(concert), Arc::new(AtomicU64::new(0)));
        let (settling, line, known) = (redis.clone(), concert.clone(), floor.clone());
        redis.on_forgotten(move |_| {
            let (redis, concert, floor) = (settling.clone(), line.clone(), known.clone());
            async move {
                let floor = floor.load(Ordering::Relaxed);
                let settle = Settle { concert: &concert, floor, draw: None };
                redis.run_unloaded(&settle).await.map(|_| ())
            }
            .boxed()
        });
        let info = raw.say("INFO replication").await.text().to_owned();
        let turn = info.lines().find_map(|line| line.strip_prefix("master_replid:"));
        let turn = turn.expect("a replication id").trim().to_owned();
        let (began_ms, passed, scripts_are_forgotten) = (0, 0, true);
        Self {
            _process: process,
            raw,
            redis,
            concert,
            early,
            floor,
            turn,
            scripts_are_forgotten,
            began_ms,
            passed,
        }
    }

    /// Empties it for a new case: a line that was not settled on this process yet.
    pub async fn begin(&mut self, epoch: &str, seq: u64) {
        let keys = self.concert.keys.clone();
        self.raw.say("FLUSHALL").await;
        self.raw
            .say(&format!("MSET {} {seq} {} {epoch} {} none", keys.seq, keys.epoch, keys.run))
            .await;
        self.floor.store(seq, Ordering::Relaxed);
        let time = self.raw.say("TIME").await.texts();
        self.began_ms = time[0].parse::<i64>().expect("seconds") * 1000;
        self.passed = 0;
    }

    fn unit(&self, ms: i64) -> i64 {
        if ms == WITHHELD_UNTIL_MS.cast_signed() {
            return NEVER;
        }
        (ms - self.began_ms).div_euclid(UNIT_MS) + self.passed
    }

    fn unit_of(&self, ms: u64) -> i64 {
        self.unit(i64::try_from(ms).expect("a time"))
    }

    fn unit_in(&self, ms: &str) -> String {
        self.unit(ms.parse().expect("a time in ms")).to_string()
    }

    /// A step that is no call of a script.
    ///
    /// `cursor`: how far the draw is then.
    pub async fn happen(&mut self, step: &Step, at: u64, member: &str, cursor: Option<u64>) {
        let keys = self.concert.keys.clone();
        match step {
            Step::Pass { steps } => {
                let ms = (steps * STEP * UNIT_MS).to_string();
                self.raw.send(&["EVAL", TIME_PASSES, "0", &ms]).await.int();
                self.passed += steps * STEP;
            }
            Step::ForgetScripts => drop(self.raw.say("SCRIPT FLUSH").await),
            Step::Set { knob, value } => {
                self.raw.say(&format!("HSET {} {knob} {value}", keys.settings)).await;
            }
            Step::LoseEpoch => drop(self.raw.say(&format!("DEL {}", keys.epoch)).await),
            Step::LoseSeq => drop(self.raw.say(&format!("DEL {}", keys.seq)).await),
            Step::AnotherProcess => drop(self.raw.say(&format!("SET {} none", keys.run)).await),
            Step::RollBack { .. } => {
                self.raw.say(&format!("ZREM {} {at}", keys.active)).await;
                self.raw.say(&format!("DEL {}", keys.token(place(at)))).await;
                self.raw.say(&format!("ZADD {} {at} {member}", keys.waiting)).await;
                if let Some(cursor) = cursor {
                    self.raw.say(&format!("HSET {} cursor {cursor}", keys.draw)).await;
                }
            }
            Step::LoseDraw => drop(self.raw.say(&format!("DEL {}", keys.draw)).await),
            Step::LoseFreeze => {
                let fields = "segments people last frozen_ms cursor value";
                self.raw.say(&format!("HDEL {} {fields}", keys.draw)).await;
            }
            other => unreachable!("{other:?} is a call"),
        }
    }

    /// Reads every key back.
    pub async fn state(&mut self) -> State {
        let all = self.raw.send(&["EVAL", READ_ALL, "0"]).await;
        let Answer::List(all) = all else { panic!("no list: {all:?}") };
        let prefix = format!("{{c{}}}:", self.concert.id);
        let mut state = State::new();
        for entry in all {
            let Answer::List(entry) = entry else { panic!("no entry") };
            let key =
                entry[0].text().strip_prefix(&prefix).expect("a key of the concert").to_owned();
            let kind = key.split(':').next().unwrap_or_default().to_owned();
            if entry[1].int() > 0 {
                state.insert(format!("{key} ends"), self.unit(entry[1].int()).to_string());
            }
            for pair in entry[2].texts().chunks(2) {
                let (field, value) = (&pair[0], &pair[1]);
                let value = match kind.as_str() {
                    "settings" => self.moment_or_text(value),
                    "draw" if field.ends_with("_ms") => self.unit_in(value),
                    "audit" => moments_hidden(value),
                    "active" | "held" | "paying" | "servers" => self.unit_in(value),
                    "pace" if field == "at" => self.unit_in(value),
                    "token" => self.unit_at_the_end(value),
                    "hold" if !field.starts_with("again") => self.unit_at_the_end(value),
                    _ => value.clone(),
                };
                let name = if field.is_empty() { key.clone() } else { format!("{key} {field}") };
                state.insert(name, value);
            }
        }
        state
    }

    /// A draw in the model's words.
    fn draw_shown(&self, draw: Option<&Draw>) -> String {
        let frozen = |frozen: &Frozen| call::Frozen {
            segments: frozen.segments.to_string(),
            at: self.unit_of(frozen.at_ms),
            value: frozen.value.clone(),
        };
        let draw = draw.map(|draw| call::Drawn {
            id: draw.seal.terms.id,
            round: draw.seal.terms.round.is_some(),
            committed: self.unit_of(draw.committed_ms),
            frozen: draw.frozen.as_ref().map(frozen),
            cursor: draw.cursor,
        });
        format!("{draw:?}")
    }

    /// The other way round.
    fn real_draw(&self, draw: &call::Drawn) -> Draw {
        let ms = |unit: i64| u64::try_from(self.began_ms + (unit - self.passed) * UNIT_MS + 1);
        let frozen = |frozen: &call::Frozen| Frozen {
            segments: Segments::parse(&frozen.segments).expect("segments"),
            at_ms: ms(frozen.at).expect("a time"),
            value: frozen.value.clone(),
        };
        Draw {
            seal: sealed(draw.id, draw.round),
            committed_ms: ms(draw.committed).expect("a time"),
            frozen: draw.frozen.as_ref().map(frozen),
            cursor: draw.cursor,
        }
    }

    /// A moment of this case as its unit; anything else as it is.
    fn moment_or_text(&self, value: &str) -> String {
        match value.parse::<i64>() {
            Ok(ms) if is_of_a_case(ms) => format!("unit {}", self.unit(ms)),
            _ => value.to_owned(),
        }
    }

    fn unit_at_the_end(&self, value: &str) -> String {
        let (start, ms) = value.rsplit_once(':').expect("a record that ends with a time");
        format!("{start}:{}", self.unit_in(ms))
    }

    async fn run<C: ScriptCall>(&self, call: &C) -> C::Outcome {
        self.redis.run(call).await.expect("an answer")
    }

    /// Runs the script of `call`; what it answered, in the model's words.
    pub async fn answer(&mut self, call: &Call) -> String {
        match call {
            Call::Sample { server, polls } => self.sample(*server, *polls).await,
            Call::Settle { .. }
            | Call::Board { .. }
            | Call::Configure { .. }
            | Call::Enter(_)
            | Call::Draw { .. }
            | Call::Promote(_)
            | Call::Claim { .. }
            | Call::Leave { .. }
            | Call::Clear { .. } => self.answer_of_queue(call).await,
            Call::Begin { .. }
            | Call::Cancel { .. }
            | Call::Finish { .. }
            | Call::Rebuild { .. }
            | Call::Seal { .. } => self.answer_of_payments(call).await,
            _ => self.answer_of_seats(call).await,
        }
    }

    async fn answer_of_queue(&mut self, call: &Call) -> String {
        let line = self.concert.clone();
        let concert = &*line;
        match call {
            Call::Settle { floor, draw } => {
                let draw = draw.as_ref().map(|draw| self.real_draw(draw));
                let call = Settle { concert, floor: *floor, draw: draw.as_ref() };
                let settled = self.redis.run_unloaded(&call).await.expect("an answer");
                let seq = Some(settled.last.get());
                format!("settled {} {} {:?} {seq:?}", settled.run, settled.changed, settled.epoch)
            }
            Call::Board { after, limit } => self.board(*after, *limit).await,
            Call::Configure { changes } => {
                let change = &settings_change(changes);
                let outcome = self.run(&Configure { concert, request: "model", change }).await;
                // Two moments that are set one after the other differ.
                tokio::time::sleep(Duration::from_millis(2)).await;
                match outcome {
                    ConfigureOutcome::Configured => "configured".into(),
                    ConfigureOutcome::NeverOpen { .. } => "never_open".into(),
                    ConfigureOutcome::NotAwaited(why) => format!("not_awaited {why:?}"),
                }
            }
            Call::Draw { id, round, early } => {
                let concert = if *early { &self.early } else { concert };
                let seal = &sealed(*id, *round);
                match self.run(&AdvanceDraw { concert, seal }).await {
                    DrawOutcome::Draw(draw) => format!("draw {}", self.draw_shown(Some(&draw))),
                    DrawOutcome::None => "none".into(),
                    DrawOutcome::Unsettled => "unsettled".into(),
                }
            }
            Call::Enter(arrivals) => self.enter(arrivals).await,
            Call::Promote(terms) => self.promote(terms).await,
            Call::Claim { place: at, user } => {
                let call = Claim {
                    concert,
                    place: place(*at),
                    user: user.map(user_id),
                    active_ttl: lasting(ACTIVE_TTL),
                    session_max: lasting(SESSION_MAX),
                };
                match self.run(&call).await {
                    ClaimOutcome::Active { owner, expires_ms, now_ms } => {
                        let owner = owner.map(UserId::get);
                        let (ends, now) = (self.unit_of(expires_ms), self.unit_of(now_ms));
                        format!("active {owner:?} {ends} {now}")
                    }
                    ClaimOutcome::NotYours => "not_yours".into(),
                    ClaimOutcome::UserHasToken => "user_has_token".into(),
                    ClaimOutcome::Gone => "gone".into(),
                }
            }
            Call::Leave { place: at, user, asker, version } => {
                let (user, asker) = (user.map(user_id), asker.map(user_id));
                let call = Leave { concert, place: place(*at), user, asker, version: *version };
                match self.run(&call).await {
                    LeaveOutcome::Left { released } => format!("left {released}"),
                    LeaveOutcome::NotYours => "not_yours".into(),
                    LeaveOutcome::OtherUser => "other_user".into(),
                    LeaveOutcome::Paying => "paying".into(),
                    LeaveOutcome::Gone => "gone".into(),
                }
            }
            Call::Clear { id } => self.clear(*id).await,
            other => unreachable!("{other:?} is not of the queue"),
        }
    }

    async fn clear(&mut self, id: Uuid) -> String {
        let concert = self.concert.clone();
        let left = self.run(&ClearLine { concert: &concert, id, request: "model" }).await;
        self.keep_for_a_step(&concert.keys.cleared(id)).await;
        format!("cleared {left}")
    }

    async fn enter(&mut self, arrivals: &Arrivals) -> String {
        let Arrivals { group, floor, epoch, who, has_draw, early } = arrivals;
        let line = self.concert.clone();
        let arrivals: Vec<_> = who.iter().map(|user| user.map(user_id)).collect();
        let (group, floor, arrivals) = (*group, *floor, &arrivals[..]);
        let (has_draw, concert) = (*has_draw, if *early { &self.early } else { &*line });
        let call = Enter { concert, group, floor, epoch, has_draw, arrivals };
        let outcome = self.run(&call).await;
        self.keep_for_a_step(&line.keys.group(group)).await;
        let entered = match outcome {
            EnterOutcome::Entered(entered) => entered,
            EnterOutcome::Unsettled => return "unsettled".into(),
            EnterOutcome::Closed => return "closed".into(),
            EnterOutcome::Undrawn => return "undrawn".into(),
        };
        let known = entered.known.iter().map(|known| {
            let waits = known.expires_ms == 0;
            let expires = if waits { 0 } else { self.unit_of(known.expires_ms) };
            (known.index, known.place.get(), expires)
        });
        let known: Vec<_> = known.collect();
        let now = self.unit_of(entered.now_ms);
        format!("entered {now} {} {} {known:?}", entered.before, entered.first)
    }

    /// A script keeps its answer for 5 s, which is nothing in the model's time.
    async fn keep_for_a_step(&mut self, answer: &Key) {
        let ttl_ms = self.raw.say(&format!("PTTL {answer}")).await.int();
        if (1..=5000).contains(&ttl_ms) {
            self.raw.say(&format!("PEXPIRE {answer} {}", STEP * UNIT_MS)).await;
        }
    }

    async fn board(&self, after: u64, limit: usize) -> String {
        let row = self.run(&ReadBoard { concert: &self.concert, after, limit }).await;
        let dead: Vec<_> =
            row.dead.iter().map(|entry| (entry.ordinal, Some(entry.range))).collect();
        format!(
            "board {} {} {:?} {:?} {:?} {} {} {} {:?} {:?} {:?} {:?} {:?} {:?} {} {} {} {} {dead:?}",
            self.unit_of(row.now_ms),
            row.run.unwrap_or_default(),
            row.epoch,
            row.last.map(Place::get),
            row.head.map(Place::get),
            row.waiting,
            row.active,
            row.promoted,
            row.capacity,
            row.batch,
            row.paused,
            row.message,
            row.opens_at.map(|at| self.moment_or_text(&at)),
            row.closes_at.map(|at| self.moment_or_text(&at)),
            row.sold,
            row.held,
            row.withheld,
            self.draw_shown(row.draw.as_ref()),
        )
    }

    async fn promote(&mut self, terms: &Terms) -> String {
        let generation =
            Generation { run: terms.run.as_str().into(), epoch: terms.epoch.as_str().into() };
        let order = terms.drawn.as_ref().map(|(_, segments, _)| order_of(segments));
        let drawn = terms.drawn.as_ref().zip(order.as_ref());
        let drawn =
            drawn.map(|((id, _, cursor), order)| DrawnFrom { id: *id, order, cursor: *cursor });
        let outcome = self
            .run(&Promote {
                drawn,
                concert: if terms.early { &self.early } else { &self.concert },
                generation: &generation,
                capacity: terms.capacity,
                batch: terms.batch,
                claim_ttl: lasting(CLAIM_TTL),
            })
            .await;
        // Half a step ahead of the clock: until time passes, it is for the script as if the clock
        // had gone back, so that the milliseconds of a case earn nothing.
        let pace = self.concert.keys.pace.clone();
        let at = self.raw.say(&format!("HGET {pace} at")).await;
        if at != Answer::Nil && self.unit(at.int()) == self.passed {
            self.raw.say(&format!("HSET {pace} at {}", at.int() + UNIT_MS)).await;
        }
        match outcome {
            PromoteOutcome::Promoted(tick) => {
                assert!(!tick.more || drawn.is_some(), "a few are no reason to go on: {tick:?}");
                let PromoteTick { promoted, expired, active, cursor, .. } = tick;
                format!("promoted {promoted} {expired} {active} {cursor}")
            }
            PromoteOutcome::Undrawn(tick) => format!("undrawn {} {}", tick.expired, tick.active),
            PromoteOutcome::Closed(tick) => format!("closed {} {}", tick.expired, tick.active),
            PromoteOutcome::NotReady => "not_ready".into(),
            PromoteOutcome::Unsettled => "unsettled".into(),
        }
    }

    fn rows(&self, holds: &Holds) -> String {
        let row = |hold: &onsale::seats::Hold| {
            let (seat, price) = (hold.seat.get(), hold.price.get());
            (hold.date.to_string(), seat, hold.reservation, price, self.unit_of(hold.deadline_ms))
        };
        let rows: Vec<_> = holds.holds.iter().map(row).collect();
        format!("{} {rows:?}", self.unit_of(holds.now_ms))
    }

    async fn answer_of_seats(&self, call: &Call) -> String {
        let concert = &*self.concert;
        match call {
            Call::Hold(request) => self.hold(request).await,
            Call::Release(request) => self.release(request).await,
            Call::Sweep { day, version } => {
                let call = SweepHolds { concert, date: concert.dates[*day], version: *version };
                format!("swept {}", self.run(&call).await)
            }
            Call::List { day } => {
                let list = self.run(&ReadSeats { concert, date: concert.dates[*day] }).await;
                let sold: Vec<u32> = list.sold.iter().map(SeatNumber::get).collect();
                let held: Vec<u32> = list.held.iter().map(|seat| seat.get()).collect();
                let next = list.next_deadline_ms.map(|ms| self.unit_of(ms));
                let now = self.unit_of(list.now_ms);
                format!("list {now} {:?} {sold:?} {next:?} {held:?}", list.version.as_ref())
            }
            Call::Dates => {
                let dates = self.run(&ReadDates { concert }).await;
                format!("dates {} {:?}", self.unit_of(dates.now_ms), dates.unfree)
            }
            Call::Holds { user } => {
                let holds = self.run(&ReadHolds { concert, user: user_id(*user) }).await;
                format!("holds {}", self.rows(&holds))
            }
            Call::Restore { day, lock, version, seats } => {
                let (date, version) = (concert.dates[*day], *version);
                let lock = lock.map(|id| (id, lasting(LOCK)));
                let seats = &seats.iter().copied().map(seat).collect::<Vec<_>>()[..];
                match self.run(&RestoreSold { concert, date, lock, version, seats }).await {
                    RestoreOutcome::Restored { marked, dropped } => {
                        format!("restored {marked} {dropped}")
                    }
                    RestoreOutcome::Lost => "lost".into(),
                }
            }
            Call::Correct { day, seen, version, seats } => {
                let (date, seen, version) = (concert.dates[*day], seen.as_deref(), *version);
                let seats = &seats.iter().copied().map(seat).collect::<Vec<_>>()[..];
                match self.run(&CorrectSold { concert, date, seen, version, seats }).await {
                    CorrectOutcome::Corrected(unmarked) => format!("corrected {unmarked}"),
                    CorrectOutcome::Changed => "changed".into(),
                }
            }
            _ => self.answer_of_operators(call).await,
        }
    }

    async fn answer_of_operators(&self, call: &Call) -> String {
        match call {
            Call::Withhold(request) => {
                let (generation, seats) = order_of_operators(request);
                let order = self.order(request, &generation, &seats);
                match self.run(&WithholdSeats(order)).await {
                    WithholdOutcome::Withheld(new) => format!("withheld {new}"),
                    WithholdOutcome::Sold(seats) => format!("sold {:?}", plain(&seats)),
                    WithholdOutcome::Held(seats) => format!("held {:?}", plain(&seats)),
                    WithholdOutcome::NotReady => "not_ready".into(),
                }
            }
            Call::GiveBack(request) => {
                let (generation, seats) = order_of_operators(request);
                let order = self.order(request, &generation, &seats);
                match self.run(&GiveSeatsBack(order)).await {
                    Some(seats) => format!("given_back {:?}", plain(&seats)),
                    None => "not_ready".into(),
                }
            }
            Call::Rewithhold { day, lock, id, seats } => {
                let (concert, date) = (&*self.concert, self.concert.dates[*day]);
                let lock = lock.map(|id| (id, lasting(LOCK)));
                let seats = &seats.iter().copied().map(seat).collect::<Vec<_>>()[..];
                let call = RewithholdSeats { concert, date, lock, id: *id, seats };
                self.run(&call).await.map_or("lost".into(), |new| format!("withheld {new}"))
            }
            other => unreachable!("{other:?} is not of the seats"),
        }
    }

    fn order<'a>(
        &'a self,
        request: &OrderRequest,
        generation: &'a Generation,
        seats: &'a [SeatNumber],
    ) -> SeatsOrder<'a> {
        let (concert, date) = (&*self.concert, self.concert.dates[request.day]);
        SeatsOrder { concert, generation, date, id: request.id, request: "model", seats }
    }

    /// The rows of the last hour are about real seconds: a test of their own looks at them.
    async fn sample(&self, server: usize, polls: u64) -> String {
        let server = &format!("server-{server}");
        let call = TakeSample { concert: &self.concert, server, polls, estimate: Some(7) };
        let got = self.run(&call).await;
        assert_eq!(got.estimate, Some(7), "the estimate is what the caller says");
        let counters = got.counters().map(|(_, count)| count);
        format!(
            "sampled {} {} {} {} {} {} {} {:?} {:?} {:?} {}",
            self.unit_of(got.now_ms),
            got.servers,
            got.waiting,
            got.active,
            got.held,
            got.withheld,
            got.sold,
            got.last,
            got.head,
            &counters[..9],
            got.polls,
        )
    }

    async fn hold(&self, request: &HoldRequest) -> String {
        let (run, epoch) = (request.run.as_str().into(), request.epoch.as_str().into());
        let seats: Vec<_> = request.seats.iter().map(|(number, id)| (seat(*number), *id)).collect();
        let call = HoldSeats {
            concert: &self.concert,
            generation: &Generation { run, epoch },
            date: self.concert.dates[request.day],
            holder: holder(request.place, request.user),
            terms: HoldTerms {
                hold_ttl: lasting(HOLD_TTL),
                hard_extra: lasting(HARD_EXTRA),
                token_extra: lasting(TOKEN_EXTRA),
                session_max: lasting(SESSION_MAX),
                seats_max: SEATS_MAX,
            },
            version: request.version,
            seats: &seats,
        };
        match self.run(&call).await {
            HoldOutcome::Held(holds) => format!("held {}", self.rows(&holds)),
            HoldOutcome::Sold(seat) => format!("sold {seat}"),
            HoldOutcome::Taken(seat) => format!("taken {seat}"),
            HoldOutcome::Limit(live) => format!("limit {live}"),
            HoldOutcome::SessionEnding(ms) => format!("session_ending {}", self.unit_of(ms)),
            HoldOutcome::NotReady => "not_ready".into(),
            HoldOutcome::TokenExpired => "token_expired".into(),
            HoldOutcome::NotYours => "not_yours".into(),
            HoldOutcome::Unclaimed => "unclaimed".into(),
            HoldOutcome::Past => "past".into(),
            HoldOutcome::Paying => "paying".into(),
        }
    }

    async fn release(&self, request: &ReleaseRequest) -> String {
        let held = |named: &Named| HeldSeat {
            seat: seat(named.seat),
            reservation: named.reservation,
            holder: holder(named.place, named.user),
        };
        let call = ReleaseHolds {
            concert: &self.concert,
            date: self.concert.dates[request.day],
            why: match request.why {
                Why::Asked => WhyReleased::Asked,
                Why::GivenUp => WhyReleased::GivenUp,
                Why::ByOperator => WhyReleased::ByOperator { request: "model" },
            },
            version: request.version,
            seats: &request.seats.iter().map(held).collect::<Vec<_>>(),
        };
        match self.run(&call).await {
            ReleaseOutcome::Released { seats, kept } => {
                let seats: Vec<_> = seats.iter().map(|seat| seat.get()).collect();
                format!("released {kept} {seats:?}")
            }
            ReleaseOutcome::Paying(seat) => format!("paying {seat}"),
        }
    }

    async fn answer_of_payments(&self, call: &Call) -> String {
        let concert = &*self.concert;
        let rebuild = |id| Rebuild { concert, id, lock: lasting(LOCK) };
        match call {
            Call::Begin { place: at, user, attempt } => {
                let call = BeginPayment {
                    concert,
                    place: place(*at),
                    user: user_id(*user),
                    attempt: *attempt,
                    lease: lasting(LEASE),
                    extension: lasting(EXTENSION),
                };
                let row = |seat: &PaymentSeat| {
                    (seat.date.to_string(), seat.seat.get(), seat.reservation, seat.price.get())
                };
                match self.run(&call).await {
                    Begun::Holds(seats) => {
                        format!("begun {:?}", seats.iter().map(row).collect::<Vec<_>>())
                    }
                    Begun::Gone => "gone".into(),
                    Begun::NotYours => "not_yours".into(),
                    Begun::Nothing => "nothing".into(),
                    Begun::Expired => "expired".into(),
                    Begun::Expiring => "expiring".into(),
                }
            }
            Call::Cancel { place: at, attempt } => {
                let call = CancelPayment { concert, place: place(*at), attempt: *attempt };
                format!("cancelled {}", self.run(&call).await)
            }
            Call::Finish { place: at, user, version, seats } => {
                let seat = |((day, number), reservation): &((usize, u32), _)| PaymentSeat {
                    reservation: *reservation,
                    date: concert.dates[*day],
                    seat: seat(*number),
                    price: won(PRICE),
                };
                let payment = Payment {
                    id: *version,
                    user: user_id(*user),
                    concert: concert.id,
                    place: place(*at),
                    paid_at: chrono::Utc::now(),
                    balance_after: won(0),
                    seats: seats.iter().map(seat).collect(),
                };
                let call = FinishPayment { payment: &payment, version: *version };
                let done = self.run(&call).await;
                format!("finished {} {} {}", done.sold, done.displaced, done.consumed)
            }
            Call::Rebuild { id } => match self.run(&TakeRebuild(rebuild(*id))).await {
                Taken::Locked => "locked".into(),
                Taken::Busy => "busy".into(),
                Taken::Present => "present".into(),
            },
            Call::Seal { id, epoch, settings } => {
                let call = SealRebuild { concert, id: *id, epoch, late: lasting(LOCK), settings };
                if self.run(&call).await { "sealed" } else { "lost" }.into()
            }
            other => unreachable!("{other:?} is not of the payments"),
        }
    }
}

fn lasting(units: i64) -> Duration {
    Duration::from_millis((units * UNIT_MS).unsigned_abs())
}

fn holder(at: u64, user: u64) -> Holder {
    Holder { user: user_id(user), place: place(at) }
}

fn order_of_operators(request: &OrderRequest) -> (Generation, Vec<SeatNumber>) {
    let (run, epoch) = (request.run.as_str().into(), request.epoch.as_str().into());
    (Generation { run, epoch }, request.seats.iter().copied().map(seat).collect())
}

fn plain(seats: &[SeatNumber]) -> Vec<u32> {
    seats.iter().map(|seat| seat.get()).collect()
}

fn seat(number: u32) -> SeatNumber {
    SeatNumber::try_from(i128::from(number)).expect("a seat")
}

fn won(amount: i64) -> Won {
    Won::try_from(i128::from(amount)).expect("an amount")
}

fn sealed(id: Uuid, round: bool) -> Seal {
    let terms = DrawTerms { id, round: round.then(|| ROUND.to_owned()) };
    Seal { terms, commitment: COMMITMENT, sealed: SEALED }
}

/// Whether it is about now, not one of the far moments that a step names.
fn is_of_a_case(ms: i64) -> bool {
    (1_000_000_000_000..4_000_000_000_000).contains(&ms)
}

/// A note without the milliseconds of its moments.
fn moments_hidden(note: &str) -> String {
    let hidden = |word: &str| match word.parse() {
        Ok(ms) if is_of_a_case(ms) => "a moment".to_owned(),
        _ => word.to_owned(),
    };
    let words = note.split(' ').map(|word| word.split('>').map(hidden).collect::<Vec<_>>());
    words.map(|word| word.join(">")).collect::<Vec<_>>().join(" ")
}

/// The change of settings that a call asks for.
fn settings_change(changes: &[(&'static str, u32)]) -> SettingsChange {
    let mut change = SettingsChange::default();
    for (setting, value) in changes {
        let text = setting_text(setting, *value);
        let people = || match &text {
            Some(text) => Change::Set(text.parse::<i128>().unwrap().try_into().unwrap()),
            None => Change::Remove,
        };
        let moment = || match text.as_deref() {
            Some("now") => Change::Set(Moment::Now),
            Some(text) => Change::Set(Moment::At(text.parse().unwrap())),
            None => Change::Remove,
        };
        match *setting {
            "beacon" => {
                let value = text.as_deref().map(|text| BeaconValue::new(text).unwrap());
                change.beacon = value.map_or(Change::Remove, Change::Set);
            }
            "opens_at" => change.opens_at = moment(),
            "closes_at" => change.closes_at = moment(),
            "capacity" => change.capacity = people(),
            "batch" => change.batch = people(),
            "paused" => change.paused = Change::Set(text.as_deref() == Some("1")),
            _ => {
                let message = text.as_deref().map(|text| Message::new(text).unwrap());
                change.message = message.map_or(Change::Remove, Change::Set);
            }
        }
    }
    change
}

//! A pre-line with a lottery: the order that nobody chose, who checks it, and what losses leave of it.

use std::process::{Command, Output};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{StreamExt, stream};
use onsale::concerts::{Concert, Generation, Prequeue};
use onsale::local::{LocalRedis, RedisOptions};
use onsale::queue::draw::proof::Rank;
use onsale::queue::draw::seal::Terms;
use onsale::queue::draw::{Draw, Proof, Seal, Seed};
use onsale::queue::{QueueConfig, QueueError, Status, TokenKeys};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::line::{Line, place_of, user_id};
use crate::support::process::ServerProcess;
use crate::support::server::{Answer, Deployment, TOKEN_KEY, TestServer};
use crate::support::{RawRedis, concert, eventually};

const TOKEN: &str = "the-operators-token-of-a-test";

/// A sale with a lottery that opens in another century.
fn lottery(beacon_round: Option<&str>) -> Concert {
    let opens_at = "2099-12-01T20:00:00+09:00".parse().expect("a moment");
    let beacon_round = beacon_round.map(str::to_owned);
    let prequeue = Prequeue::Lottery { beacon_round };
    Concert { opens_at: Some(opens_at), prequeue, ..concert(1000, 1) }
}

async fn configure(server: &TestServer, change: Value) -> Answer {
    server.answer(server.request("PATCH", "/admin/concerts").bearer_auth(TOKEN).json(&change)).await
}

async fn open_now(server: &TestServer, concert: &Concert) {
    configure(server, json!({"concertId": concert.id, "opensAt": "now"})).await.expect(200);
}

async fn proof(server: &TestServer, concert: &Concert) -> Value {
    server.get(&format!("/concert/{}/fairness", concert.id)).await.expect(200).body
}

/// Waits until the seed is public.
async fn drawn(server: &TestServer, concert: &Concert) -> Value {
    let is_drawn = || async { proof(server, concert).await["draw"]["seed0"].is_string() };
    eventually("the lottery is drawn", is_drawn).await;
    proof(server, concert).await
}

/// `onsale verify`, as anybody runs it.
async fn verify(arguments: Vec<String>) -> Output {
    let run = move || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_onsale"));
        command.arg("verify").args(arguments).output().expect("it runs")
    };
    tokio::task::spawn_blocking(run).await.expect("an end")
}

fn said(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).expect("text")
}

/// With a known seed and known numbers, so that this says the same every time.
#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_people_are_drawn_in_an_order_that_anybody_can_check() {
    const PEOPLE: u64 = 10_000;
    const BEFORE: u64 = 200_000_000_000_000;
    let deployment = Deployment::new(vec![lottery(None)]).await.with("admin_token", TOKEN);
    let deployment =
        deployment.with("capacity", "50").with("batch", "1000").with("claim_ttl", "10m");
    let (one, other) = (deployment.start().await, deployment.start().await);
    let concert = deployment.concert();
    let mut redis = RawRedis::shared().await;
    let keys = TokenKeys::parse(TOKEN_KEY).expect("a key");
    let terms = Terms { id: Uuid::from_u128(1), round: None };
    let seal = Seal::close(terms, concert.id, &Seed::new([7; 32]), &keys);
    let draw = Draw { seal, committed_ms: 1, frozen: None, cursor: 0 };
    let mut words = vec!["HSET".to_owned(), concert.keys.draw.to_string()];
    words.extend(draw.fields().into_iter().flat_map(|(name, value)| [name.to_owned(), value]));
    redis.send(&words).await;
    redis.say(&format!("SET {} {BEFORE}", concert.keys.seq)).await;

    let servers = [&one, &other];
    let arrivals = (1..=PEOPLE).map(|user| servers[usize::from(user % 2 == 0)].join(concert, user));
    let mut tokens: Vec<String> = stream::iter(arrivals).buffer_unordered(64).collect().await;
    tokens.sort_by_key(|token| place_in(token));
    let standing = one.get_as(&tokens[0], "/user/token/status").await.expect(200).body;
    assert_eq!(standing["status"], "prequeue");
    let before = proof(&one, concert).await;
    assert_eq!(before["prequeue"], "lottery");
    assert_eq!(before["draw"]["seed0"], Value::Null, "a secret before the opening");
    let commitment = before["draw"]["commitment"].clone();

    open_now(&other, concert).await;
    let late = one.join(concert, PEOPLE + 1).await;
    let later = one.post("/user/token", json!({"concertId": concert.id})).await.expect(201);
    let public = drawn(&one, concert).await;
    assert_eq!(public["draw"]["commitment"], commitment);
    assert_eq!(public["draw"]["segments"], json!([[BEFORE + 1, BEFORE + PEOPLE]]));
    assert_eq!(public, drawn(&other, concert).await, "every server says the same");

    // Anybody, from public data alone.
    let url = format!("http://{}/concert/{}/fairness", one.address, concert.id);
    let text = said(&verify(vec![url.clone(), "--token".into(), tokens[0].clone()]).await);
    assert!(text.contains("the order of 10000 people is the one that the committed seed makes"));
    assert!(text.contains("not that the operator did not know it"), "{text}");
    let correlation =
        text.split("arrival and rank: ").nth(1).and_then(|rest| rest.split(".\n").next());
    let correlation: f64 = correlation.and_then(|rho| rho.parse().ok()).expect("a number");
    // Its standard deviation is 0.01: one fair draw in 370 is beyond 0.03, and none beyond five.
    assert!(correlation.abs() < 0.05, "{correlation}");
    for late in [late, later.text("token")] {
        let text = said(&verify(vec![url.clone(), "--token".into(), late]).await);
        assert!(text.contains("came after the draw: behind all 10000"), "{text}");
    }

    // The servers let people in, and tell positions, in that order.
    let proof: Proof = serde_json::from_value(public).expect("a proof");
    let checked = proof.check().expect("it holds");
    let rank = |token: &str| match checked.rank_of(place_in(token)) {
        Rank::Drawn(rank) => rank,
        other => panic!("{other:?}"),
    };
    let first = tokens.iter().find(|token| rank(token) == 1).expect("somebody");
    one.wait_until_active(first).await;
    let full = format!("ZCARD {}", concert.keys.active);
    let is_full = || async { RawRedis::shared().await.say(&full).await.int() == 50 };
    eventually("fifty are let in", is_full).await;
    for token in tokens.iter().step_by(97).filter(|token| rank(token) > 50) {
        for server in servers {
            let told = || async {
                let standing = server.get_as(token, "/user/token/status").await.expect(200).body;
                standing["queuePosition"] == rank(token) - 50 && standing["status"] == "waiting"
            };
            eventually("the position is that of the rank", told).await;
        }
    }
    let inside = redis.say(&format!("ZRANGE {} 0 -1", concert.keys.active)).await.texts();
    for place in inside {
        let rank = checked.rank_of(place.parse().expect("a number"));
        assert!(matches!(rank, Rank::Drawn(1..=50)), "{place}: {rank:?}");
    }
}

/// The number in a token of these servers.
fn place_in(token: &str) -> u64 {
    let keys = TokenKeys::parse(TOKEN_KEY).expect("a key");
    keys.verify(token).expect("a token of ours").place.get()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_to_a_lottery_says_who_they_are_until_it_is_drawn() {
    let deployment = Deployment::new(vec![lottery(None)]).await.with("admin_token", TOKEN);
    let server = deployment.start().await;
    let concert = deployment.concert();
    let arrive = || server.post("/user/token", json!({"concertId": concert.id}));
    let refused = arrive().await;
    assert_eq!(refused.refusal(), (400, "bad-request"));
    assert_eq!(refused.body["field"], "userId");
    server.join(concert, 1).await;
    assert_eq!(arrive().await.refusal(), (400, "bad-request"));
    open_now(&server, concert).await;
    drawn(&server, concert).await;
    arrive().await.expect(201);
}

/// A round that is known before could have been waited for.
#[tokio::test(flavor = "multi_thread")]
async fn a_beacons_value_is_refused_until_who_takes_part_is_frozen() {
    let deployment = Deployment::new(vec![lottery(Some("drand quicknet 30000000"))]).await;
    let deployment = deployment.with("admin_token", TOKEN);
    let (server, concert) = (deployment.start().await, deployment.concert());
    server.join(concert, 1).await;
    let early = json!({"concertId": concert.id, "beacon": "0123456789abcdef", "batch": 7});
    let early = configure(&server, early).await;
    assert_eq!(early.refusal(), (409, "beacon-not-awaited"));
    assert!(early.text("detail").contains("not frozen yet"), "{early:?}");
    assert_eq!(
        configure(&server, json!({"concertId": concert.id, "beacon": null})).await.status,
        200
    );
    let mut redis = RawRedis::shared().await;
    assert_eq!(
        redis.say(&format!("EXISTS {}", concert.keys.settings)).await.int(),
        0,
        "all or none"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_beacon_nobody_is_let_in_before_its_value_is_there_and_it_stays() {
    let awaited = async |server: &TestServer| {
        let view = server.bearing(TOKEN).get("/admin/concerts").await.expect(200).body;
        view["concerts"][0]["beaconAwaited"].clone()
    };
    let deployment = Deployment::new(vec![lottery(Some("drand quicknet 30000000"))]).await;
    let deployment = deployment.with("admin_token", TOKEN);
    let (server, concert) = (deployment.start().await, deployment.concert());
    let token = server.join(concert, 1).await;
    assert_eq!(awaited(&server).await, Value::Null, "not before the opening");
    open_now(&server, concert).await;
    let is_frozen = || async { proof(&server, concert).await["draw"]["people"] == 1 };
    eventually("it is frozen", is_frozen).await;
    let public = proof(&server, concert).await;
    assert_eq!(public["draw"]["beaconRound"], "drand quicknet 30000000");
    assert_eq!(awaited(&server).await, "drand quicknet 30000000");
    assert_eq!(
        (&public["draw"]["seed0"], &public["draw"]["beaconValue"]),
        (&Value::Null, &Value::Null)
    );
    let standing = server.get_as(&token, "/user/token/status").await.expect(200).body;
    assert_eq!((&standing["status"], &standing["opensIn"]), (&json!("prequeue"), &json!(0)));
    let mut redis = RawRedis::shared().await;
    assert_eq!(redis.say(&format!("ZCARD {}", concert.keys.active)).await.int(), 0);

    for wrong in ["", "0123456789abcde", "0123456789abcdeg"] {
        let change = json!({"concertId": concert.id, "beacon": wrong});
        assert_eq!(configure(&server, change).await.refusal(), (400, "bad-request"), "{wrong}");
    }
    let value = "00112233445566778899AABBCCDDEEFF";
    configure(&server, json!({"concertId": concert.id, "beacon": value})).await.expect(200);
    server.wait_until_active(&token).await;
    let public = drawn(&server, concert).await;
    assert_eq!(public["draw"]["beaconValue"], value.to_lowercase());
    assert_eq!(awaited(&server).await, Value::Null);
    // What a draw has taken over stays; the same once more is no change.
    let other =
        configure(&server, json!({"concertId": concert.id, "beacon": "f".repeat(64)})).await;
    assert_eq!(other.refusal(), (409, "beacon-not-awaited"));
    configure(&server, json!({"concertId": concert.id, "beacon": value})).await.expect(200);
    server.join(concert, 2).await;
    assert_eq!(proof(&server, concert).await, public);
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), public.to_string()).expect("written");
    let path = file.path().display().to_string();
    let text =
        said(&verify(vec![path.clone(), "--place".into(), place_in(&token).to_string()]).await);
    assert!(text.contains("nobody could know the order before"), "{text}");
    assert!(text.contains("has rank 1 of 1"), "{text}");
    // A changed answer does not hold.
    let forged = public.to_string().replace("30000000", "30000001");
    std::fs::write(file.path(), forged).expect("written");
    let output = verify(vec![path]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("seed and terms make"), "{output:?}");
    // Nor does a stranger's answer take the machine: more people than anybody checks, or bytes without end.
    let mut many = public.clone();
    many["draw"]["people"] = json!(50_000_001);
    many["draw"]["segments"] = json!([[1, 50_000_001]]);
    std::fs::write(file.path(), many.to_string()).expect("written");
    let output = verify(vec![file.path().display().to_string()]).await;
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains("50000001 people were drawn, and this checks at most 50000000"),
        "{said}"
    );
    let output = verify(vec!["/dev/zero".to_owned()]).await;
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("it is longer than 67108864 bytes"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_without_a_lottery_says_so() {
    let deployment = Deployment::new(vec![concert(10, 1)]).await;
    let server = deployment.start().await;
    let concert = deployment.concert();
    let public = proof(&server, concert).await;
    let expected = json!({"concertId": concert.id, "prequeue": "fifo", "missedLottery": false, "opensAt": null, "draw": null});
    assert_eq!(public, expected);
    for (path, told) in [
        ("/concert/x/fairness", (400, "bad-request")),
        ("/concert/01/fairness", (400, "bad-request")),
        ("/concert/0/fairness", (422, "out-of-range")),
        ("/concert/4000000/fairness", (404, "unknown-concert")),
    ] {
        let refused = server.get(path).await;
        assert_eq!(refused.refusal(), told, "{path}");
        assert!(told.0 == 404 || refused.body["field"] == "concertId", "{path}: {refused:?}");
    }
    let url = format!("http://{}/concert/{}/fairness", server.address, concert.id);
    let output = verify(vec![url]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("no lottery"), "{output:?}");
}

/// The first of two servers knew nothing of a lottery; the other one comes too late for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_lottery_that_was_missed_is_told_of_everywhere() {
    let mut open = lottery(None);
    open.opens_at = Some("2020-12-01T20:00:00+09:00".parse().expect("a moment"));
    let concerts = vec![lottery(None), open, lottery(None)];
    let late = Deployment::new(concerts).await.with("admin_token", TOKEN);
    let mut early = late.clone();
    early.concerts[0].prequeue = Prequeue::Fifo;
    early.start().await.join(&late.concerts[0], 1).await;

    let process = ServerProcess::start(&late).await;
    let server = &process.server;
    let overview = server.bearing(TOKEN).get("/admin/concerts").await.expect(200).body;
    for (concert, is_missed) in late.concerts.iter().zip([true, true, false]) {
        let told = || async {
            let public = proof(server, concert).await;
            let word = if is_missed { "fifo" } else { "lottery" };
            public["missedLottery"] == is_missed
                && public["prequeue"] == word
                && public["draw"].is_null() == is_missed
        };
        eventually("it is told to everybody", told).await;
        let id = json!(concert.id);
        let rows = overview["concerts"].as_array().expect("concerts");
        let row = rows.iter().find(|row| row["concertId"] == id).expect("the concert");
        assert_eq!(row["missedLottery"], is_missed, "{row}");
    }
    let url = format!("http://{}/concert/{}/fairness", server.address, late.concerts[1].id);
    let output = verify(vec![url]).await;
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("was to have a lottery and has none"), "{output:?}");
    let warnings = |log: &str| log.matches("there will be no lottery").count();
    let is_logged = || async { warnings(&process.log()) == 2 };
    eventually("it is logged", is_logged).await;
    // Once for each, however often it is found.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let (_, log) = process.stop().await;
    assert_eq!(warnings(&log), 2, "{log}");
}

/// A line of named people whose lottery is not open yet.
async fn gathered(people: u64, config: QueueConfig) -> (LocalRedis, Line, Vec<String>) {
    let private = LocalRedis::throwaway(RedisOptions::throwaway()).await.expect("a Redis");
    let line = Line::on(&private, lottery(None), config).await;
    let mut tokens = Vec::new();
    for user in 1..=people {
        tokens.push(line.server.join(&line.concert, Some(user)).await.token);
    }
    (private, line, tokens)
}

async fn open(line: &mut Line) {
    let opens = format!("HSET {} opens_at 1", line.concert.keys.settings);
    line.say(&opens).await;
}

/// The places that were let in, in order.
async fn let_in(line: &mut Line, known: &mut Vec<u64>) {
    line.say(&format!("HSET {} at 0", line.concert.keys.pace)).await;
    line.server.queue.promote(&line.concert).await.expect("an answer");
    let active = line.active().await;
    let new: Vec<u64> = active.into_iter().filter(|place| !known.contains(place)).collect();
    known.extend(new);
}

#[tokio::test(flavor = "multi_thread")]
async fn positions_on_every_server_agree_with_the_order_in_which_people_are_let_in() {
    let config = QueueConfig { capacity: 1000, batch: 1, ..QueueConfig::default() };
    let (_private, mut line, tokens) = gathered(30, config).await;
    let other = line.another_server().await;
    // Some leave before the draw, some after it.
    for token in tokens.iter().step_by(7) {
        line.server.queue.leave(token, None).await.expect("a place");
    }
    open(&mut line).await;
    let late = line.server.join(&line.concert, None).await.token;
    for server in [&other, &line.server] {
        let waits = || async {
            let standing = server.queue.standing(&tokens[1]).await.expect("a live token");
            standing.status == Status::Waiting
        };
        eventually("the order is known", waits).await;
    }
    for token in tokens.iter().skip(3).step_by(7) {
        other.queue.leave(token, None).await.expect("a place");
    }
    let left = |n: usize| matches!(n % 7, 0 | 3);
    let mut line_of: Vec<(u64, u64)> = Vec::new();
    for (n, token) in tokens.iter().enumerate().filter(|(n, _)| !left(*n)) {
        line_of.push((other.position(token).await, place_of(token).get()));
        let settled =
            || async { line.server.position(token).await == line_of[line_of.len() - 1].0 };
        eventually("both servers agree", settled).await;
        assert!(n < 30);
    }
    line_of.sort_unstable();
    let positions: Vec<u64> = line_of.iter().map(|(position, _)| *position).collect();
    assert!(positions.iter().copied().eq(1..=line_of.len() as u64), "{positions:?}");
    assert_eq!(other.position(&late).await, line_of.len() as u64 + 1);

    let mut served = Vec::new();
    for _ in 0..=line_of.len() {
        let_in(&mut line, &mut served).await;
    }
    let expected: Vec<u64> =
        line_of.iter().map(|(_, place)| *place).chain([place_of(&late).get()]).collect();
    assert_eq!(served, expected);
    assert!(!served.is_sorted(), "an order of arrival");
}

/// How often a script was called.
async fn calls(line: &mut Line) -> u64 {
    let told = line.say("INFO commandstats").await.text().to_owned();
    let of = |name: &str| -> u64 {
        let row = told.lines().find_map(|row| row.strip_prefix(name));
        let calls = row.and_then(|row| row.split_once("calls=")?.1.split(',').next());
        calls.map_or(0, |calls| calls.parse().expect("a number"))
    };
    of("cmdstat_evalsha:") + of("cmdstat_evalsha_ro:")
}

/// A server knows who left before the opening; it puts them in order instead of reading them again,
/// as every other server would at the same moment.
/// A failover at the opening forgets that somebody had left; a server remembers who takes part.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_waits_in_front_of_the_draw_is_told_so_and_is_the_first() {
    let config = QueueConfig { capacity: 1000, batch: 1, ..QueueConfig::default() };
    let (_private, mut line, tokens) = gathered(4, config).await;
    let (waiting, first) = (line.concert.keys.waiting.clone(), place_of(&tokens[0]).get());
    line.say(&format!("ZREM {waiting} {first}:1")).await;
    open(&mut line).await;
    let drawn =
        || async { line.server.queue.proof(&line.concert).await.is_ok_and(|p| p.check().is_ok()) };
    line.server.queue.promote(&line.concert).await.expect("an answer");
    eventually("the lottery is drawn", drawn).await;
    let mut served = line.active().await;
    line.say(&format!("ZADD {waiting} {first} {first}:1")).await;
    let is_first = || async {
        let standing = line.server.queue.standing(&tokens[0]).await;
        standing.is_ok_and(|told| (told.status, told.position) == (Status::Waiting, 1))
    };
    eventually("the place is told", is_first).await;
    let drawn_before = served.len();
    for _ in 0..4 {
        let_in(&mut line, &mut served).await;
    }
    assert_eq!(served[drawn_before], first);
    assert_eq!(served.len(), 4, "and then the people of the draw");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_left_before_the_opening_is_not_read_again_at_it() {
    const LEAVERS: u64 = 30_000;
    let (_private, mut line, tokens) = gathered(3, QueueConfig::default()).await;
    let keys = line.concert.keys.clone();
    let last = place_of(&tokens[2]).get();
    for lot in 0..LEAVERS / 1_000 {
        let dead = (lot * 1_000 + 1..=(lot + 1) * 1_000).map(|n| format!("{n} {}", last + n));
        let dead: Vec<_> = dead.collect();
        line.say(&format!("ZADD {} {}", keys.dead, dead.join(" "))).await;
    }
    line.say(&format!("SET {} {}", keys.seq, last + LEAVERS)).await;
    let begun = Instant::now();
    let queue = line.server.queue.clone();
    let known = || async { queue.standing(&tokens[0]).await.is_ok_and(|one| one.position == 3) };
    eventually("those who left are known", known).await;
    println!("read within {:?}", begun.elapsed());

    line.say("CONFIG RESETSTAT").await;
    let begun = Instant::now();
    open(&mut line).await;
    let drawn = || async {
        let standing = queue.standing(&tokens[0]).await;
        standing.is_ok_and(|one| one.status == Status::Waiting)
    };
    eventually("the order is known", drawn).await;
    let reads = calls(&mut line).await;
    println!("{reads} script calls, drawn within {:?}", begun.elapsed());
    assert!(reads < LEAVERS / 1_000, "{reads} script calls");
    let mut positions = Vec::new();
    for token in &tokens {
        positions.push(line.server.position(token).await);
    }
    positions.sort_unstable();
    assert_eq!(positions, [1, 2, 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_draw_that_redis_lost_is_written_back_by_who_remembers_it() {
    let config = QueueConfig { capacity: 1000, batch: 2, ..QueueConfig::default() };
    let (_private, mut line, _) = gathered(20, config).await;
    let keys = line.concert.keys.clone();
    let commitment = line.say(&format!("HGET {} commitment", keys.draw)).await;
    // Redis is emptied before the opening: the people are lost, and the seed is not.
    line.say("FLUSHALL").await;
    let refused = line.server.queue.join(&line.concert, Some(user_id(1))).await;
    assert!(matches!(refused, Err(QueueError::NotReady)), "{refused:?}");
    line.rebuild("epoch-2").await;
    assert_eq!(line.say(&format!("HGET {} commitment", keys.draw)).await, commitment);
    let mut tokens = Vec::new();
    for user in 1..=20 {
        tokens.push(line.server.join(&line.concert, Some(user)).await.token);
    }
    open(&mut line).await;
    let mut served = Vec::new();
    let_in(&mut line, &mut served).await;
    let_in(&mut line, &mut served).await;
    assert!(!served.is_empty());
    let holds = || async {
        let proof = line.server.queue.proof(&line.concert).await.expect("a proof");
        proof.check().is_ok()
    };
    eventually("the proof holds", holds).await;
    let before = line.server.queue.proof(&line.concert).await.expect("a proof");

    // A failover forgets the freeze, and everything after it; somebody comes before that is noticed.
    line.say(&format!("SET {} none", keys.run)).await;
    line.say(&format!("HDEL {} segments people last frozen_ms cursor", keys.draw)).await;
    let late = line.server.join(&line.concert, Some(99)).await.token;
    let run = line.server.queue.settle(&line.concert).await.expect("a settled line").run;
    let epoch = Arc::from("epoch-2");
    line.server.gates.open(line.concert.id, Generation { run, epoch });
    let after =
        || async { line.server.queue.proof(&line.concert).await.expect("a proof") == before };
    eventually("the same people are drawn in the same order", after).await;
    for _ in 0..12 {
        let_in(&mut line, &mut served).await;
    }
    assert_eq!(served.len(), 21, "nobody is lost, and nobody is let in twice");
    assert_eq!(served[20], place_of(&late).get(), "who came later is the last");

    // Redis is emptied after it: nobody who was drawn is there, and the proof still is.
    line.say("FLUSHALL").await;
    line.rebuild("epoch-3").await;
    open(&mut line).await;
    let fresh = line.server.join(&line.concert, None).await;
    let standing = || async {
        let standing = line.server.queue.standing(&fresh.token).await.expect("a live token");
        standing.status == Status::Waiting && standing.position == 1
    };
    eventually("whoever comes now is the first", standing).await;
    assert!(line.server.is_expired(&tokens[0]).await);
    assert_eq!(line.server.queue.proof(&line.concert).await.expect("a proof").draw, before.draw);
    let mut served = Vec::new();
    let_in(&mut line, &mut served).await;
    assert_eq!(served, [place_of(&fresh.token).get()]);
}

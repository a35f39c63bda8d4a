//! Every protected route with every wrong token: the named refusal, and nothing changes in either
//! store.

use onsale::queue::TokenKeys;
use onsale::words::Place;

use super::{Call, Subject, assert_no_route_is_forgotten, protected};
use crate::support::dump::{assert_unchanged, at_rest, dump};
use crate::support::process::ServerProcess;
use crate::support::server::{Deployment, TOKEN_KEY, TestServer};
use crate::support::{RawRedis, concert, eventually};

/// People at every stage of a sale.
struct Stage {
    deployment: Deployment,
    server: TestServer,
    /// User 1: active, with a hold and money.
    mine: String,
    reservation: String,
    /// User 2: active, and not yet used.
    theirs: String,
    /// User 3.
    waiting: String,
    /// User 4: has bought.
    consumed: String,
    /// User 5: was let in, and did not come in time.
    expired: String,
    /// User 1, in the other concert: active, and not yet used.
    foreign: String,
}

async fn set() -> Stage {
    let deployment = Deployment::new(vec![concert(10, 1), concert(10, 1)]).await;
    // Nobody who was let in loses that by the clock.
    let deployment = deployment.with("capacity", "2").with("claim_ttl", "10m");
    let (first, second) = (&deployment.concerts[0], &deployment.concerts[1]);
    // A process, so that nothing of it goes on letting people in when it is gone.
    let impatient = ServerProcess::start(&deployment.clone().with("claim_ttl", "1s")).await;
    let expired = impatient.server.admitted(first, 5).await;
    let poll = || impatient.server.get_as(&expired, "/user/token/status");
    let gone = || async { poll().await.status == 401 };
    eventually("the token expires", gone).await;
    drop(impatient);

    let server = deployment.start().await;
    let consumed = server.admitted(first, 4).await;
    server.charge(&consumed, 4, 1000).await;
    server.reserve(&consumed, first, 4, 4).await.expect(201);
    server.pay(&consumed, 4).await.expect(200);
    let mine = server.admitted(first, 1).await;
    server.charge(&mine, 1, 1000).await;
    let hold = server.reserve(&mine, first, 1, 1).await.expect(201);
    let theirs = server.admitted(first, 2).await;
    let waiting = server.join(first, 3).await;
    let foreign = server.admitted(second, 1).await;
    let reservation = hold.text("reservationId");
    Stage { deployment, server, mine, reservation, theirs, waiting, consumed, expired, foreign }
}

/// Tokens that are not ours, or not any more: one bit of the MAC, of the place, of the concert;
/// another key; nonsense.
fn forgeries(genuine: &str) -> Vec<String> {
    let uuid: uuid::Uuid =
        genuine.split('_').next().and_then(|id| id.parse().ok()).expect("a UUID");
    let flipped = |bit: u32| uuid::Uuid::from_u128(uuid.as_u128() ^ (1 << bit)).to_string();
    let own_keys = TokenKeys::parse(TOKEN_KEY).expect("a key");
    let token = own_keys.verify(genuine).expect("a token of ours");
    let other_key = TokenKeys::parse(&TokenKeys::generate()).expect("a key");
    let mut forgeries: Vec<String> = [0, 20, 49, 60, 100, 127].map(flipped).into();
    forgeries.push(token.sign(&other_key).with_position(0));
    let nobody = onsale::queue::Token { place: Place::try_from(1).expect("a place"), ..token };
    forgeries.push(nobody.sign(&other_key).with_position(1));
    forgeries.extend(["nonsense".to_owned(), "a".repeat(10_000), uuid::Uuid::now_v7().to_string()]);
    forgeries
}

#[tokio::test(flavor = "multi_thread")]
async fn every_wrong_token_gets_its_named_refusal_on_every_route_and_nothing_changes() {
    let stage = set().await;
    let Stage { deployment, server, mine, reservation, .. } = &stage;
    let concert = deployment.concert();
    let subject = |user| Subject { concert, user, reservation: reservation.clone() };
    let mut redis = RawRedis::shared().await;
    let before = at_rest(deployment, &mut redis).await;
    let all = protected(&subject(1));
    assert_no_route_is_forgotten(server, &all).await;

    let refused = async |call: &Call, token: Option<&str>, told: (u16, &str), why: &str| {
        let answer = call.send(server, token).await;
        assert_eq!(answer.refusal(), told, "{} {}: {why}", call.method, call.path);
    };
    let forgeries = forgeries(mine);
    for call in &all {
        refused(call, None, (401, "token-missing"), "no token").await;
        for forged in &forgeries {
            refused(call, Some(forged), (401, "token-invalid"), forged).await;
        }
        if call.names_user {
            refused(call, Some(&stage.theirs), (403, "not-yours"), "user 2's token").await;
        }
        if call.names_concert {
            refused(call, Some(&stage.foreign), (403, "wrong-concert"), "foreign").await;
        }
    }
    for call in &protected(&subject(2)) {
        if call.names_user {
            refused(call, Some(mine), (403, "not-yours"), "user 2's id").await;
        }
    }
    for user in [1, 3] {
        for call in &protected(&subject(user)) {
            refused(call, Some(&stage.waiting), (403, "still-waiting"), "waiting").await;
        }
    }
    for user in [1, 5] {
        for call in &protected(&subject(user)) {
            refused(call, Some(&stage.expired), (401, "token-expired"), "expired").await;
        }
    }
    for call in &protected(&subject(1)) {
        let told = if call.takes_consumed { (403, "not-yours") } else { (401, "token-expired") };
        refused(call, Some(&stage.consumed), told, "consumed, by another user").await;
    }
    for call in &protected(&subject(4)) {
        if call.takes_consumed {
            let answer = call.send(server, Some(&stage.consumed)).await;
            assert_eq!(answer.status, 200, "{} {}: {answer:?}", call.method, call.path);
        } else {
            refused(call, Some(&stage.consumed), (401, "token-expired"), "consumed").await;
        }
    }
    assert_unchanged(&before, &dump(deployment, &mut redis).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poll_or_a_leave_with_a_wrong_token_changes_nothing() {
    let stage = set().await;
    let Stage { deployment, server, .. } = &stage;
    let mut redis = RawRedis::shared().await;
    let before = at_rest(deployment, &mut redis).await;
    let routes =
        [("GET", "/user/token/status"), ("GET", "/user/token/events"), ("DELETE", "/user/token")];
    for (method, path) in routes {
        let refusal = async |token: Option<&str>| {
            let answer = server.send(method, path, token, None).await;
            (answer.status, answer.code().to_owned())
        };
        let told = |status: u16, code: &str| (status, code.to_owned());
        assert_eq!(refusal(None).await, told(401, "token-missing"));
        for forged in forgeries(&stage.mine) {
            assert_eq!(refusal(Some(&forged)).await, told(401, "token-invalid"), "{forged}");
        }
        for gone in [&stage.expired, &stage.consumed] {
            assert_eq!(refusal(Some(gone)).await, told(401, "token-expired"), "{method}");
        }
    }
    assert_unchanged(&before, &dump(deployment, &mut redis).await);
}

//! Nothing secret is in a log, whatever the level: a real server at `trace` that is sent secrets by
//! every way, and made to fail with each of its stores.

use std::time::Duration;

use jsonwebtoken::{EncodingKey, Header};
use onsale::local::{LocalRedis, RedisOptions};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::process::ServerProcess;
use crate::support::server::{Deployment, TOKEN_KEY, TestServer};
use crate::support::{RawRedis, concert, eventually};

const REDIS_PASSWORD: &str = "redis-hunter2-password";
const DATABASE_PASSWORD: &str = "database-hunter2-password";
const JWT_SECRET: &str = "jwt-hunter2-secret-of-32-characters";
const ADMIN_TOKEN: &str = "admin-hunter2-token";
const WRONG_ADMIN_TOKEN: &str = "admin-hunter2-wrong";
const KEY: &str = "idempotency-hunter2-key";

/// A Redis that asks for a password.
async fn guarded_redis() -> LocalRedis {
    let options = RedisOptions { tcp: true, ..RedisOptions::throwaway() };
    let redis = LocalRedis::throwaway(options).await.expect("a Redis");
    allow(&redis).await;
    redis
}

async fn allow(redis: &LocalRedis) {
    let mut raw = RawRedis::connect(redis.socket()).await;
    raw.say(&format!("ACL SETUSER onsale on >{REDIS_PASSWORD} ~* &* +@all")).await;
}

fn with_user(url: &str, user: &str) -> String {
    let (scheme, rest) = url.split_once("://").expect("a URL");
    let (_, rest) = rest.split_once('@').unwrap_or(("", rest));
    format!("{scheme}://{user}@{rest}")
}

async fn deployment(redis: &LocalRedis) -> Deployment {
    let mut deployment = Deployment::new(vec![concert(10, 1)]).await;
    let redis_url = redis.tcp_url().expect("a TCP port");
    deployment.redis_url = with_user(&redis_url, &format!("onsale:{REDIS_PASSWORD}"));
    let user = format!("onsale:{DATABASE_PASSWORD}");
    deployment.database_url = with_user(&deployment.database_url, &user);
    deployment
        .with("log", "trace")
        .with("auth", "jwt")
        .with("trust_user_ids", "false")
        .with("jwt_secret", JWT_SECRET)
        .with("admin_token", ADMIN_TOKEN)
}

fn jwt(user: u64) -> String {
    let claims = json!({"sub": user.to_string(), "exp": chrono::Utc::now().timestamp() + 3_600});
    let key = EncodingKey::from_secret(JWT_SECRET.as_bytes());
    jsonwebtoken::encode(&Header::default(), &claims, &key).expect("a JWT")
}

/// Fails if any of `secrets`, or the part of it that counts, is in the log.
#[track_caller]
fn assert_keeps(log: &str, secrets: &[String]) {
    for secret in secrets {
        let parts = secret.split(['.', '_']).filter(|part| part.len() >= 16);
        for part in parts.chain([secret.as_str()]) {
            let line = log.lines().find(|line| line.contains(part));
            assert_eq!(line, None, "the log shows {part}");
        }
    }
}

/// A whole sale with everything that can be secret in it, right and wrong; answers the secrets.
async fn sell(process: &ServerProcess, deployment: &Deployment) -> Vec<String> {
    let (jwts, concert) = ([jwt(1), jwt(2)], deployment.concert());
    let server = process.server.bearing(&jwts[0]);
    let token = server.admitted(concert, 1).await;
    server.reserve(&token, concert, 1, 1).await.expect(201);
    for (amount, status) in [(1000, 200), (1000, 200), (2000, 422)] {
        let charge = server.request("POST", "/payment/charge").header("Queue-Token", &token);
        let charge = charge.header("Idempotency-Key", KEY);
        let charge = charge.json(&json!({"userId": 1, "amount": amount}));
        server.answer(charge).await.expect(status);
    }
    let bad_key = format!("{KEY} with spaces");
    let charge = server.request("POST", "/payment/charge").header("Queue-Token", &token);
    let charge = charge.header("Idempotency-Key", &bad_key);
    server.answer(charge.json(&json!({"userId": 1, "amount": 1}))).await.expect(400);
    let pay = server.request("POST", "/payment").header("Queue-Token", &token);
    let pay = pay.header("Idempotency-Key", format!("{KEY}-payment"));
    server.answer(pay.json(&json!({"userId": 1}))).await.expect(200);

    misplace(&server, &token).await;
    process
        .server
        .bearing(&format!("{}x", jwts[0]))
        .get_as(&token, "/concert/available-dates")
        .await
        .expect(401);
    // The wrong person pays again with the token: a warning.
    let theirs = process.server.bearing(&jwts[1]);
    assert_eq!(theirs.pay(&token, 2).await.refusal(), (403, "not-yours"));
    process.server.bearing(ADMIN_TOKEN).get("/admin/concerts").await.expect(200);
    process.server.bearing(WRONG_ADMIN_TOKEN).get("/admin/concerts").await.expect(401);

    let malformed = format!("GET /x?token={token} HTTP/1.1\r\nQueue-Token {token}\r\n\r\n");
    let mut raw = TcpStream::connect(process.server.address).await.expect("a connection");
    raw.write_all(malformed.as_bytes()).await.expect("it reads");
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(Duration::from_secs(20), raw.read_to_end(&mut answer)).await;
    assert!(answer.starts_with(b"HTTP/1.1 400"), "{}", String::from_utf8_lossy(&answer));
    jwts.into_iter().chain([token]).collect()
}

/// Sends a token by every way that is wrong, or that people use by mistake.
async fn misplace(server: &TestServer, token: &str) {
    let forged = format!("{}0_1", &token[..35]);
    server.get(&format!("/user/token/status?token={token}")).await.expect(401);
    server.get(&format!("/{token}")).await.expect(404);
    server.get(&format!("/concert/available-dates?token={token}")).await.expect(400);
    server.post("/user/token", json!({ "token": token })).await.expect(400);
    server.send("DELETE", "/user/token", None, Some(json!({ "token": token }))).await.expect(401);
    server.get_as(&forged, "/user/token/status").await.expect(401);
    let text = server.request("POST", "/payment").header("Content-Type", "text/plain");
    server.answer(text.body(token.to_owned())).await.expect(415);
    let no_json = server.request("POST", "/payment").header("Content-Type", "application/json");
    server.answer(no_json.body(format!("{{\"token\":\"{token}"))).await.expect(400);
    let id = server.request("GET", "/healthz").header("X-Forwarded-For", token);
    server.answer(id).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_in_a_log_of_any_level() {
    let redis = guarded_redis().await;
    let deployment = deployment(&redis).await;
    let process = ServerProcess::start(&deployment).await;
    let mut secrets = sell(&process, &deployment).await;
    let fixed =
        [REDIS_PASSWORD, DATABASE_PASSWORD, JWT_SECRET, ADMIN_TOKEN, WRONG_ADMIN_TOKEN, KEY];
    secrets.extend(fixed.map(str::to_owned));
    secrets.push(TOKEN_KEY.to_owned());

    // Redis goes, comes back and does not know the password any more.
    redis.kill().await;
    let server = process.server.bearing(&secrets[0]);
    let away =
        || async { server.get_as(&secrets[2], "/payment/balance?userId=1").await.status == 503 };
    eventually("Redis is noticed to be away", away).await;
    redis.restart().await.expect("Redis starts");
    let refused = || async { process.log().matches("WRONGPASS").count() > 0 };
    eventually("the server was refused by Redis", refused).await;
    allow(&redis).await;
    let back = || async { process.server.get("/readyz").await.status == 200 };
    eventually("Redis lets the server in again", back).await;
    let (exit_code, log) = process.stop().await;
    assert_eq!(exit_code, Some(0), "{log}");
    assert!(log.contains("TRACE") && log.contains("DEBUG"), "the log has every level");
    assert!(log.lines().count() > 100, "{log}");
    assert_keeps(&log, &secrets);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_in_the_log_of_a_server_whose_stores_are_not_there() {
    let redis = guarded_redis().await;
    let mut deployment = deployment(&redis).await;
    // Ports on which nobody listens.
    deployment.redis_url = format!("redis://onsale:{REDIS_PASSWORD}@127.0.0.1:1");
    deployment.database_url = format!("postgres://onsale:{DATABASE_PASSWORD}@127.0.0.1:1/onsale");
    let process = ServerProcess::start_unready(&deployment).await;
    let told = process.server.get("/readyz").await;
    assert_eq!(told.refusal(), (503, "not-ready"));
    for secret in [REDIS_PASSWORD, DATABASE_PASSWORD] {
        assert!(!told.body.to_string().contains(secret), "{told:?}");
    }
    let server = process.server.bearing(&jwt(1));
    server.post("/user/token", json!({"userId": 1})).await.expect(503);
    let (_, log) = process.stop().await;
    assert_keeps(
        &log,
        &[REDIS_PASSWORD, DATABASE_PASSWORD, JWT_SECRET, TOKEN_KEY].map(str::to_owned),
    );
}

//! `ONSALE_AUTH=jwt` with a real server: who signed, for whom, until when; and that the user of a
//! request is the token's, on every route.

use std::sync::OnceLock;

use jsonwebtoken::jwk::{Jwk, JwkSet};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rsa::pkcs1::EncodeRsaPrivateKey;
use rsa::pkcs8::{EncodePublicKey, LineEnding};
use serde_json::{Value, json};

use super::{Subject, assert_no_route_is_forgotten, protected};
use crate::support::dump::{assert_unchanged, at_rest, dump};
use crate::support::process::ServerProcess;
use crate::support::server::{Deployment, TestServer};
use crate::support::{RawRedis, concert};

const SECRET: &str = "the secret of the tests, long enough";
/// Claims whose time is over, or has not come: well beyond the minute that clocks may differ.
const AN_HOUR: i64 = 3_600;

/// A key of the identity provider, made for this run.
struct Signer {
    id: &'static str,
    algorithm: Algorithm,
    key: EncodingKey,
}

impl Signer {
    fn ed25519(id: &'static str) -> Self {
        // PKCS #8 of an Ed25519 key is these bytes and the key's own.
        let start = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
        let der = [start.as_slice(), &rand::random::<[u8; 32]>()].concat();
        Self { id, algorithm: Algorithm::EdDSA, key: EncodingKey::from_ed_der(&der) }
    }

    fn p256(id: &'static str) -> Self {
        // The same for a P-256 key, with the names of the curve and an ECPrivateKey around it.
        let start = [
            0x30, 0x41, 2, 1, 0, 0x30, 0x13, 6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1, 6, 8, 0x2a,
            0x86, 0x48, 0xce, 0x3d, 3, 1, 7, 4, 0x27, 0x30, 0x25, 2, 1, 1, 4, 0x20,
        ];
        let der = [start.as_slice(), &rand::random::<[u8; 32]>()].concat();
        Self { id, algorithm: Algorithm::ES256, key: EncodingKey::from_ec_der(&der) }
    }

    fn rsa() -> Self {
        let der = rsa_key().to_pkcs1_der().expect("a key");
        let key = EncodingKey::from_rsa_der(der.as_bytes());
        Self { id: "rsa", algorithm: Algorithm::RS256, key }
    }

    fn secret(secret: &[u8]) -> Self {
        let key = EncodingKey::from_secret(secret);
        Self { id: "", algorithm: Algorithm::HS256, key }
    }

    fn sign(&self, claims: &Value) -> String {
        self.sign_as(Some(self.id).filter(|id| !id.is_empty()), claims)
    }

    fn sign_as(&self, kid: Option<&str>, claims: &Value) -> String {
        let header = Header { kid: kid.map(str::to_owned), ..Header::new(self.algorithm) };
        jsonwebtoken::encode(&header, claims, &self.key).expect("a JWT")
    }

    fn public(&self) -> Jwk {
        let mut jwk = Jwk::from_encoding_key(&self.key, self.algorithm).expect("a public key");
        jwk.common.key_id = Some(self.id.to_owned());
        jwk
    }
}

/// One for all tests: it takes a while to find.
fn rsa_key() -> &'static rsa::RsaPrivateKey {
    static KEY: OnceLock<rsa::RsaPrivateKey> = OnceLock::new();
    KEY.get_or_init(|| {
        rsa::RsaPrivateKey::new(&mut rsa::rand_core::OsRng, 2_048).expect("an RSA key")
    })
}

fn now() -> i64 {
    chrono::Utc::now().timestamp()
}

/// Claims that this server takes.
fn claims(user: u64) -> Value {
    let (from, until) = (now() - 5, now() + AN_HOUR);
    json!({"sub": user.to_string(), "iss": "shop", "aud": "onsale", "nbf": from, "exp": until})
}

/// A server that knows users by the public keys of a JWKS file, and by a shared secret.
struct Stage {
    deployment: Deployment,
    process: ServerProcess,
    signers: Vec<Signer>,
    jwks: tempfile::NamedTempFile,
}

impl Stage {
    async fn set() -> Self {
        let signers = vec![Signer::rsa(), Signer::p256("p256"), Signer::ed25519("ed25519")];
        let jwks = tempfile::NamedTempFile::new().expect("a file");
        let set = JwkSet { keys: signers.iter().map(Signer::public).collect() };
        serde_json::to_writer(&jwks, &set).expect("a JWKS");
        let deployment = Deployment::new(vec![concert(10, 1)])
            .await
            .with("auth", "jwt")
            .with("trust_user_ids", "false")
            .with("jwks", jwks.path().to_str().expect("a path"))
            .with("jwt_secret", SECRET)
            .with("jwt_audience", "onsale")
            .with("jwt_issuer", "shop");
        let process = ServerProcess::start(&deployment).await;
        Self { deployment, process, signers, jwks }
    }

    /// The server as `user` sees it.
    fn server_of(&self, user: u64) -> TestServer {
        self.process.server.bearing(&self.signers[0].sign(&claims(user)))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sale_runs_with_users_that_are_known_by_any_key_of_the_provider() {
    let stage = Stage::set().await;
    let concert = stage.deployment.concert();
    let secret = Signer::secret(SECRET.as_bytes());
    for (user, signer) in stage.signers.iter().chain([&secret]).enumerate() {
        let user = 1 + u64::try_from(user).expect("a small number");
        let seat = u32::try_from(user).expect("a seat");
        let server = stage.process.server.bearing(&signer.sign(&claims(user)));
        // The user is the JWT's, whether or not the body says so.
        let body = json!({"concertId": concert.id});
        let token = server.post("/user/token", body).await.expect(201).text("token");
        let again = server.join(concert, user).await;
        assert_eq!(again.split('_').next(), token.split('_').next(), "the same user's place");
        server.wait_until_active(&token).await;
        server.get_as(&token, "/concert/available-dates").await.expect(200);
        server.charge(&token, user, 1000).await;
        server.reserve(&token, concert, user, seat).await.expect(201);
        let paid = server.pay(&token, user).await.expect(200);
        assert_eq!(paid.body["payments"][0]["seatNumber"], seat);
        let mine = format!("/user/reservations?userId={user}");
        let owned = server.get_as(&token, &mine).await.expect(200);
        assert_eq!(owned.body["owned"].as_array().map(Vec::len), Some(1), "{:?}", signer.algorithm);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_jwt_that_is_not_right_in_every_way_names_nobody() {
    let stage = Stage::set().await;
    let Stage { deployment, process, signers, .. } = &stage;
    let mut redis = RawRedis::shared().await;
    let before = at_rest(deployment, &mut redis).await;
    for (name, jwt) in wrong_jwts(&stage) {
        let server = process.server.bearing(&jwt);
        let body = json!({"concertId": deployment.concert().id, "userId": 7});
        let arrival = server.post("/user/token", body).await;
        assert_eq!(arrival.refusal(), (401, "unauthenticated"), "{name}");
        assert_eq!(arrival.headers["www-authenticate"], "Bearer");
        let balance = server.get("/payment/balance?userId=7").await;
        assert_eq!(balance.refusal(), (401, "unauthenticated"), "{name}");
    }
    assert_unchanged(&before, &dump(deployment, &mut redis).await);

    // The same claims, signed as they should be, are taken: with a list of audiences, without a
    // `kid`, and without `nbf`.
    for signer in signers {
        let mut fine = claims(7);
        fine["aud"] = json!(["elsewhere", "onsale"]);
        fine.as_object_mut().expect("claims").remove("nbf");
        let server = process.server.bearing(&signer.sign_as(None, &fine));
        server.join(deployment.concert(), 7).await;
    }
}

/// JWTs of user 7 with one thing wrong each.
fn wrong_jwts(stage: &Stage) -> Vec<(String, String)> {
    let mut wrong = Vec::new();
    let mut add = |name: &str, jwt: String| wrong.push((name.to_owned(), jwt));
    let fine = claims(7);
    for signer in &stage.signers {
        let name = |what: &str| format!("{what} ({:?})", signer.algorithm);
        for (claim, value) in [
            ("exp", json!(now() - AN_HOUR)),
            ("exp", json!("soon")),
            ("nbf", json!(now() + AN_HOUR)),
            ("aud", json!("elsewhere")),
            ("aud", json!(["elsewhere"])),
            ("iss", json!("elsewhere")),
            ("sub", json!("0")),
            ("sub", json!("07")),
            ("sub", json!("+7")),
            ("sub", json!("seven")),
            ("sub", json!(7)),
            ("sub", json!("9007199254740992")),
        ] {
            let mut claims = fine.clone();
            claims[claim] = value;
            add(&name(&format!("{claim} = {}", claims[claim])), signer.sign(&claims));
        }
        for claim in ["exp", "aud", "iss", "sub"] {
            let mut claims = fine.clone();
            claims.as_object_mut().expect("claims").remove(claim);
            add(&name(&format!("no {claim}")), signer.sign(&claims));
        }
        add(&name("an unknown kid"), signer.sign_as(Some("unknown"), &fine));
        let other = if signer.id == "rsa" { "p256" } else { "rsa" };
        add(&name("another key's kid"), signer.sign_as(Some(other), &fine));

        let jwt = signer.sign(&fine);
        let parts: Vec<&str> = jwt.split('.').collect();
        let (head, payload, signature) = (parts[0], parts[1], parts[2]);
        let theirs = signer.sign(&claims(8));
        let payload_of_8 = theirs.split('.').nth(1).expect("a payload");
        add(&name("another payload"), format!("{head}.{payload_of_8}.{signature}"));
        add(&name("no signature"), format!("{head}.{payload}."));
        // {"alg":"none"}, {"alg":"None"}, {"alg":"none","typ":"JWT"}
        for none in
            ["eyJhbGciOiJub25lIn0", "eyJhbGciOiJOb25lIn0", "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0"]
        {
            add(&name("alg none"), format!("{none}.{payload}."));
            add(&name("alg none, signed"), format!("{none}.{payload}.{signature}"));
        }
        let mut header = Header::new(signer.algorithm);
        header.kid = Some(signer.id.to_owned());
        header.crit = Some(vec!["b64".to_owned()]);
        let critical = jsonwebtoken::encode(&header, &fine, &signer.key).expect("a JWT");
        add(&name("a critical extension"), critical);
    }
    for stranger in [Signer::p256("p256"), Signer::ed25519("ed25519")] {
        add("somebody else's key under a known kid", stranger.sign(&fine));
    }
    add("another secret", Signer::secret(b"another secret of the right length..").sign(&fine));
    for (form, text) in public_texts(stage) {
        let confused = Signer::secret(&text);
        add(&format!("HS256 with {form}"), confused.sign(&fine));
        for kid in ["rsa", "p256", "ed25519"] {
            add(&format!("HS256 with {form} as {kid}"), confused.sign_as(Some(kid), &fine));
        }
    }
    for nonsense in ["x", "..", "a.b.c", "eyJhbGciOiJIUzI1NiJ9.."] {
        add("nonsense", nonsense.to_owned());
    }
    wrong
}

/// Whatever an attacker could take for the secret: the public key in all its written forms.
fn public_texts(stage: &Stage) -> Vec<(&'static str, Vec<u8>)> {
    let public = rsa_key().to_public_key();
    let pem = public.to_public_key_pem(LineEnding::LF).expect("PEM");
    let jwk = serde_json::to_value(stage.signers[0].public()).expect("JSON");
    vec![
        ("the public key's PEM", pem.clone().into_bytes()),
        ("the public key's PEM without its last line end", pem.trim_end().as_bytes().to_vec()),
        ("the public key's DER", public.to_public_key_der().expect("DER").into_vec()),
        ("the public key's JWK", jwk.to_string().into_bytes()),
        ("the public key's modulus", jwk["n"].as_str().expect("n").as_bytes().to_vec()),
        ("the JWKS file", std::fs::read(stage.jwks.path()).expect("a JWKS")),
        ("nothing", Vec::new()),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn the_user_is_the_jwts_on_every_route_and_nothing_changes_for_anybody_else() {
    let stage = Stage::set().await;
    let Stage { deployment, process, .. } = &stage;
    let concert = deployment.concert();
    let (mine, theirs, nobody) = (stage.server_of(1), stage.server_of(2), &process.server);
    let token = mine.admitted(concert, 1).await;
    mine.charge(&token, 1, 1000).await;
    let reservation = mine.reserve(&token, concert, 1, 1).await.expect(201).text("reservationId");
    let subject = |user| Subject { concert, user, reservation: reservation.clone() };
    let mut redis = RawRedis::shared().await;
    let before = at_rest(deployment, &mut redis).await;

    let all = protected(&subject(1));
    assert_no_route_is_forgotten(nobody, &all).await;
    for call in &all {
        let told = call.send(nobody, Some(&token)).await;
        assert_eq!(told.refusal(), (401, "unauthenticated"), "{} {}", call.method, call.path);
        // Somebody else's JWT with my token: with my id, and with their own.
        let told = call.send(&theirs, Some(&token)).await;
        assert_eq!(told.refusal(), (403, "not-yours"), "{} {}", call.method, call.path);
    }
    for call in &protected(&subject(2)) {
        let told = call.send(&theirs, Some(&token)).await;
        assert_eq!(told.refusal(), (403, "not-yours"), "{} {}", call.method, call.path);
        if call.names_user {
            let told = call.send(&mine, Some(&token)).await;
            assert_eq!(told.refusal(), (403, "not-yours"), "{} {}", call.method, call.path);
        }
    }
    for path in ["/user/token/status", "/user/token"] {
        let method = if path == "/user/token" { "DELETE" } else { "GET" };
        let told = nobody.send(method, path, Some(&token), None).await;
        assert_eq!(told.refusal(), (401, "unauthenticated"), "{method} {path}");
        let told = theirs.send(method, path, Some(&token), None).await;
        assert_eq!(told.refusal(), (403, "not-yours"), "{method} {path}");
    }
    let arrival = json!({"concertId": concert.id, "userId": 1});
    let told = nobody.post("/user/token", arrival.clone()).await;
    assert_eq!(told.refusal(), (401, "unauthenticated"));
    let told = nobody.post("/user/token", json!({"concertId": concert.id})).await;
    assert_eq!(told.refusal(), (401, "unauthenticated"));
    let told = theirs.post("/user/token", arrival).await;
    assert_eq!(told.refusal(), (403, "not-yours"));
    // In this mode the bearer is the JWT: a queue token there is none.
    let told = nobody.bearing(&token).get("/concert/available-dates").await;
    assert_eq!(told.refusal(), (401, "unauthenticated"));
    assert_unchanged(&before, &dump(deployment, &mut redis).await);

    mine.get_as(&token, "/user/token/status").await.expect(200);
    mine.pay(&token, 1).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_poll_of_a_waiting_token_needs_no_jwt_and_leaving_does() {
    let stage = Stage::set().await;
    let concert = stage.deployment.concert();
    let (mine, theirs, nobody) = (stage.server_of(1), stage.server_of(2), &stage.process.server);
    let mut redis = RawRedis::shared().await;
    redis.say(&format!("HSET {} paused 1", concert.keys.settings)).await;
    let token = mine.join(concert, 1).await;
    // Whatever JWT comes along.
    let forged = nobody.bearing("eyJhbGciOiJIUzI1NiJ9.e30.AAAA");
    for asker in [nobody, &theirs, &mine, &forged] {
        let polled = asker.get_as(&token, "/user/token/status").await.expect(200);
        assert_eq!(polled.body["status"], "waiting");
    }
    let before = at_rest(&stage.deployment, &mut redis).await;
    let told = nobody.delete_as(&token, "/user/token").await;
    assert_eq!(told.refusal(), (401, "unauthenticated"));
    let told = theirs.delete_as(&token, "/user/token").await;
    assert_eq!(told.refusal(), (403, "not-yours"));
    assert_unchanged(&before, &dump(&stage.deployment, &mut redis).await);
    mine.delete_as(&token, "/user/token").await.expect(200);
}

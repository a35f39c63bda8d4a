//! Configuration: flags, environment, a file, defaults — and every fault reported at once.
//!
//! [`settings`] is the table of all settings, [`resolve`] merges the sources and reads the written
//! forms, and this file gives each slice its section.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;

use crate::auth::{Auth, JwtVerifier};
use crate::concerts::{Catalogue, file};
use crate::http::HttpConfig;
use crate::payments::PaymentsConfig;
use crate::postgres::PostgresConfig;
use crate::queue::{QueueConfig, TokenKeys};
use crate::redis::RedisConfig;
use crate::seats::SeatsConfig;
use crate::telemetry::{self, TelemetryConfig};
use crate::words::ConcertId;

pub mod resolve;
pub mod settings;

pub use resolve::{Fault, Resolver};

/// Everything a server needs to know before it starts.
pub struct Config {
    /// Where to serve.
    pub listen: SocketAddr,
    /// Where the catalogue is read from; None for the built-in demo.
    pub catalogue_path: Option<PathBuf>,
    /// The concert meant by a request that names none.
    pub default_concert: Option<ConcertId>,
    /// The catalogue.
    pub catalogue: Catalogue,
    /// The keys that sign and verify tokens.
    pub token_keys: TokenKeys,
    /// The bearer token of the operators' routes.
    pub admin_token: Option<SecretString>,
    /// How users are known.
    pub auth: Auth,
    /// The connection to Redis.
    pub redis: RedisConfig,
    /// The connection to PostgreSQL.
    pub database: PostgresConfig,
    /// The HTTP server.
    pub http: HttpConfig,
    /// The waiting line.
    pub queue: QueueConfig,
    /// Holds.
    pub seats: SeatsConfig,
    /// Charges and payments.
    pub payments: PaymentsConfig,
}

/// The connections alone: what `migrate` and `check` need.
pub struct Stores {
    /// The connection to Redis.
    pub redis: RedisConfig,
    /// The connection to PostgreSQL.
    pub database: PostgresConfig,
}

const MS: Duration = Duration::from_millis(1);
const S: Duration = Duration::from_secs(1);
const M: Duration = Duration::from_mins(1);

impl Config {
    /// Reads all sections.
    ///
    /// # Errors
    ///
    /// Every fault that was found, with the name, the value and what is allowed.
    pub fn read(mut resolver: Resolver) -> Result<Self, Vec<Fault>> {
        let listen = read_listen(&mut resolver);
        let queue = read_queue(&mut resolver);
        let seats = read_seats(&mut resolver, queue.session_max);
        let payments = read_payments(&mut resolver, &seats);
        let (catalogue_path, default_concert, catalogue) = read_catalogue(&mut resolver);
        let token_keys = read_token_keys(&mut resolver);
        let auth = read_auth(&mut resolver);
        let http = read_http(&mut resolver);
        let stores = read_stores(&mut resolver);
        let admin_token = read_admin_token(&mut resolver);
        let faults = resolver.into_faults();
        match token_keys {
            Some(token_keys) if faults.is_empty() => Ok(Self {
                listen,
                catalogue_path,
                default_concert,
                catalogue,
                token_keys,
                admin_token,
                auth,
                redis: stores.redis,
                database: stores.database,
                http,
                queue,
                seats,
                payments,
            }),
            _ => Err(faults),
        }
    }
}

impl Stores {
    /// Reads the connections.
    ///
    /// # Errors
    ///
    /// Every fault that was found.
    pub fn read(mut resolver: Resolver) -> Result<Self, Vec<Fault>> {
        let stores = read_stores(&mut resolver);
        let faults = resolver.into_faults();
        if faults.is_empty() { Ok(stores) } else { Err(faults) }
    }
}

/// How to log; read before everything else.
pub fn read_telemetry(resolver: &mut Resolver) -> TelemetryConfig {
    let filter = resolver.text("log").unwrap_or("info").to_owned();
    if !telemetry::is_filter(&filter) {
        resolver.fault("log", "must be a filter like info or info,onsale::http=debug");
    }
    let json = match resolver.text("log_format") {
        Some("json") => true,
        Some("text") | None => false,
        Some(_) => {
            resolver.fault("log_format", "must be text or json");
            false
        }
    };
    TelemetryConfig { filter, json }
}

fn read_listen(resolver: &mut Resolver) -> SocketAddr {
    let rule = "must be an address and a port like 127.0.0.1:8080 or [::1]:8080";
    resolver.parsed("listen", rule).unwrap_or(SocketAddr::from(([127, 0, 0, 1], 8080)))
}

fn read_stores(resolver: &mut Resolver) -> Stores {
    resolver.default_to("redis_url", || "redis://127.0.0.1:6379".to_owned());
    resolver.default_to("database_url", || "postgres://127.0.0.1/onsale".to_owned());
    let mut redis = RedisConfig::new(resolver.text("redis_url").unwrap_or_default());
    redis.command_timeout = resolver.duration("redis_timeout", 50 * MS..=5 * S);
    if let Err(rule) = redis.check() {
        resolver.fault("redis_url", rule);
    }
    let mut database = PostgresConfig::new(resolver.text("database_url").unwrap_or_default());
    database.connections_max = resolver.number("database_connections", 2..=500);
    if let Err(rule) = database.check() {
        resolver.fault("database_url", rule);
    }
    Stores { redis, database }
}

fn read_queue(resolver: &mut Resolver) -> QueueConfig {
    let claim_ttl = resolver.duration("claim_ttl", S..=10 * M);
    let active_ttl = resolver.duration("active_ttl", S..=120 * M);
    let session_max = resolver.duration("session_max", S..=360 * M);
    if session_max < active_ttl {
        let rule = "must not be below ONSALE_ACTIVE_TTL";
        resolver.fault_beside("session_max", &["active_ttl"], rule);
    }
    QueueConfig {
        capacity: resolver.number("capacity", 1..=10_000_000),
        batch: resolver.number("batch", 1..=1_000_000),
        claim_ttl,
        active_ttl,
        session_max,
        ..QueueConfig::default()
    }
}

fn read_seats(resolver: &mut Resolver, session_max: Duration) -> SeatsConfig {
    let hold_ttl = resolver.duration("hold_ttl", S..=60 * M);
    let hard_extra = resolver.duration("hold_grace", S..=10 * M);
    if hold_ttl + hard_extra >= session_max {
        // Every hold would be refused: it could outlive the session of its token.
        let rule = "must, with ONSALE_HOLD_GRACE, be below ONSALE_SESSION_MAX";
        resolver.fault_beside("hold_ttl", &["hold_grace", "session_max"], rule);
    }
    SeatsConfig {
        hold_ttl,
        hard_extra,
        session_max,
        max_seats_per_user: resolver.number("max_seats_per_user", 1..=20),
        ..SeatsConfig::default()
    }
}

fn read_payments(resolver: &mut Resolver, seats: &SeatsConfig) -> PaymentsConfig {
    let statement_deadline = resolver.duration("payment_deadline", 200 * MS..=M);
    let begin_extension = resolver.duration("payment_extension", 400 * MS..=5 * M);
    if begin_extension < 2 * statement_deadline {
        let rule = "must be at least twice ONSALE_PAYMENT_DEADLINE";
        resolver.fault_beside("payment_extension", &["payment_deadline"], rule);
    }
    if seats.hard_extra < 2 * begin_extension {
        let rule = "must be at least twice ONSALE_PAYMENT_EXTENSION";
        resolver.fault_beside("hold_grace", &["payment_extension"], rule);
    }
    PaymentsConfig {
        statement_deadline,
        begin_extension,
        lease: 2 * statement_deadline,
        ..PaymentsConfig::default()
    }
}

fn read_http(resolver: &mut Resolver) -> HttpConfig {
    let otherwise = HttpConfig::default();
    resolver.default_to("arrivals_per_address", || otherwise.arrivals_per_address.to_string());
    resolver.default_to("polls_per_address", || otherwise.polls_per_address.to_string());
    resolver.default_to("streams_per_address", || otherwise.streams_per_address.to_string());
    HttpConfig {
        connections_max: resolver.number("connections_max", 1..=1_000_000),
        reuse_port: resolver.flag("reuse_port"),
        requests_max: resolver.number("requests_max", 1..=1_000_000),
        arrivals_per_address: resolver.number("arrivals_per_address", 0..=1_000_000),
        polls_per_address: resolver.number("polls_per_address", 0..=1_000_000),
        proxy_hops: resolver.number("proxy_hops", 0..=8),
        streams_max: resolver.number("streams_max", 0..=1_000_000),
        streams_per_address: resolver.number("streams_per_address", 0..=1_000_000),
        heartbeat: resolver.duration("heartbeat", S..=60 * S),
        ..otherwise
    }
}

fn read_catalogue(resolver: &mut Resolver) -> (Option<PathBuf>, Option<ConcertId>, Catalogue) {
    let path = resolver.text("concerts").filter(|path| *path != DEMO).map(PathBuf::from);
    let text = match &path {
        None => Ok(file::DEMO.to_owned()),
        Some(path) => std::fs::read_to_string(path),
    };
    let concerts = match text {
        Ok(text) => file::parse(&text).unwrap_or_else(|faults| {
            for fault in faults {
                resolver.fault("concerts", fault.to_string());
            }
            Vec::new()
        }),
        Err(error) => {
            resolver.fault("concerts", format!("cannot be read: {error}"));
            Vec::new()
        }
    };
    let default = resolver
        .parsed::<i128>("default_concert", "must be a concert id")
        .map(ConcertId::try_from)
        .and_then(|id| {
            id.map_err(|error| resolver.fault("default_concert", error.to_string())).ok()
        });
    let is_read = !concerts.is_empty();
    let catalogue = Catalogue::new(concerts, default);
    if is_read && !catalogue.has_its_default() {
        resolver.fault("default_concert", "is not in the catalogue");
    }
    (path, default, catalogue)
}

/// The value of `ONSALE_CONCERTS` that means the catalogue built into the binary.
pub const DEMO: &str = "(demo)";

fn read_token_keys(resolver: &mut Resolver) -> Option<TokenKeys> {
    let Some(text) = resolver.text("token_key") else {
        resolver.fault(
            "token_key",
            "is needed: 32 random bytes in hex, for example from `openssl rand -hex 32`; \
             the same for every server of a deployment",
        );
        return None;
    };
    match TokenKeys::parse(text) {
        Ok(keys) => Some(keys),
        Err(error) => {
            resolver.fault("token_key", error.to_string());
            None
        }
    }
}

fn read_admin_token(resolver: &mut Resolver) -> Option<SecretString> {
    let token = resolver.text("admin_token")?;
    // Anything else could not be sent as a bearer token.
    if token.len() < 16 || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        resolver
            .fault("admin_token", "must have at least 16 characters, all of them visible ASCII");
        return None;
    }
    Some(SecretString::from(token))
}

fn read_auth(resolver: &mut Resolver) -> Auth {
    let trusted = resolver.flag("trust_user_ids");
    match resolver.text("auth") {
        Some("trust") if trusted => Auth::Trust,
        Some("trust") => {
            resolver.fault(
                "auth",
                "trust believes any userId. Behind a gateway that has checked it, say so with \
                 --trust-user-ids (ONSALE_TRUST_USER_IDS=true); otherwise use jwt",
            );
            Auth::Trust
        }
        Some("jwt") => read_jwt(resolver),
        _ => {
            resolver.fault("auth", "must be trust or jwt");
            Auth::Trust
        }
    }
}

fn read_jwt(resolver: &mut Resolver) -> Auth {
    let jwks = resolver.text("jwks").map(std::fs::read_to_string).transpose();
    let secret = resolver.text("jwt_secret");
    let (audience, issuer) = (resolver.text("jwt_audience"), resolver.text("jwt_issuer"));
    let is_short = secret.is_some_and(|secret| secret.len() < 32);
    let verifier = match jwks {
        Err(error) => Err(("jwks", format!("cannot be read: {error}"))),
        Ok(None) if secret.is_none() => {
            Err(("auth", "jwt needs ONSALE_JWT_SECRET or ONSALE_JWKS".to_owned()))
        }
        Ok(jwks) => JwtVerifier::new(secret, jwks.as_deref(), audience, issuer)
            .map_err(|rule| ("jwks", rule)),
    };
    if is_short {
        resolver.fault("jwt_secret", "must have at least 32 characters");
    }
    match verifier {
        Ok(verifier) => Auth::Jwt(Arc::new(verifier)),
        Err((name, rule)) => {
            resolver.fault(name, rule);
            Auth::Trust
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(given: &[(&str, &str)]) -> Result<Config, Vec<Fault>> {
        let needed = [
            ("concerts", DEMO),
            ("token_key", "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"),
            ("trust_user_ids", "true"),
        ];
        let all: Vec<_> = given.iter().chain(&needed).collect();
        let value = |name: &str| {
            all.iter().find(|(given, _)| *given == name).map(|(_, value)| (*value).to_owned())
        };
        Config::read(Resolver::new(value, |_| None, None))
    }

    #[test]
    fn an_address_is_limited_unless_somebody_says_otherwise() {
        let http = |given| read(given).ok().unwrap().http;
        let usual = http(&[]);
        assert_eq!((usual.arrivals_per_address, usual.polls_per_address), (100, 500));
        assert_eq!(usual.proxy_hops, 0, "nobody's word is believed");
        let off = http(&[("arrivals_per_address", "0"), ("polls_per_address", "0")]);
        assert_eq!((off.arrivals_per_address, off.polls_per_address), (0, 0));
    }

    #[test]
    fn an_operators_token_must_be_long_and_fit_into_a_header() {
        for token in ["0123456789abcde", "0123456789 abcdef", "0123456789abcde\u{fc}"] {
            let faults = read(&[("admin_token", token)]).err().unwrap();
            assert_eq!(faults.len(), 1, "{faults:?}");
            assert_eq!(faults[0].value, "(secret)");
        }
        assert!(read(&[("admin_token", "0123456789abcdef")]).is_ok());
    }

    #[test]
    fn every_fault_is_told_at_once_and_once_with_name_value_and_rule() {
        let faults = read(&[
            ("session_max", "abc"),
            ("payment_extension", "1"),
            ("capacity", "0"),
            ("batch", "1.5"),
            ("auth", "none"),
        ]);
        let told: Vec<_> = faults.err().unwrap().iter().map(ToString::to_string).collect();
        for (name, value) in [
            ("ONSALE_SESSION_MAX", "abc"),
            ("ONSALE_PAYMENT_EXTENSION", "1"),
            ("ONSALE_CAPACITY", "0"),
            ("ONSALE_BATCH", "1.5"),
            ("ONSALE_AUTH", "none"),
        ] {
            let start = format!("{name} = \"{value}\": must");
            let count = told.iter().filter(|fault| fault.starts_with(&start)).count();
            assert_eq!(count, 1, "{name}: {told:#?}");
        }
        assert_eq!(told.len(), 5, "{told:#?}");
    }

    #[test]
    fn a_faulty_jwks_and_a_short_secret_are_told_together() {
        let no_jwks = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
        for (jwks, rule) in [("/no/such/file", "cannot be read"), (no_jwks, "is not a JWKS")] {
            let given = [("auth", "jwt"), ("jwks", jwks), ("jwt_secret", "0123456789")];
            let faults = read(&given).err().unwrap();
            let told: Vec<_> = faults.iter().map(ToString::to_string).collect();
            assert_eq!(told.len(), 2, "{told:#?}");
            let of = |name: &str, rule: &str| {
                told.iter().any(|fault| fault.starts_with(name) && fault.contains(rule))
            };
            assert!(of("ONSALE_JWKS", rule), "{told:#?}");
            assert!(of("ONSALE_JWT_SECRET", "at least 32"), "{told:#?}");
        }
    }

    #[test]
    fn a_hold_that_no_session_has_room_for_is_a_fault() {
        for given in [
            [("hold_ttl", "30m"), ("session_max", "30m")],
            [("hold_ttl", "5m"), ("session_max", "10m")],
        ] {
            let faults = read(&given).err().map_or(Vec::new(), |faults| faults);
            let expected = usize::from(given[0].1 == "30m");
            assert_eq!(faults.len(), expected, "{faults:?}");
        }
    }
}

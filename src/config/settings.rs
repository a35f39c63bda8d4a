//! The one table of all settings: what `--help` lists, what a file may contain, what is the default.

/// One setting: `--claim-ttl`, `ONSALE_CLAIM_TTL` and `claim_ttl` in a file.
#[derive(Debug)]
pub struct Setting {
    /// The name in a file; the flag and the variable follow from it.
    pub name: &'static str,
    /// The default, in the written form. None: not set.
    pub default: Option<&'static str>,
    /// One or two lines for `--help`: meaning, range, what it protects.
    pub help: &'static str,
    /// Whether the value must never be printed; it may then also come from `ONSALE_…_FILE`.
    pub secret: bool,
}

impl Setting {
    /// `claim_ttl` → `ONSALE_CLAIM_TTL`.
    #[must_use]
    pub fn variable(&self) -> String {
        format!("ONSALE_{}", self.name.to_ascii_uppercase())
    }

    /// `claim_ttl` → `claim-ttl`.
    #[must_use]
    pub fn flag(&self) -> String {
        self.name.replace('_', "-")
    }
}

const fn setting(name: &'static str, default: Option<&'static str>, help: &'static str) -> Setting {
    Setting { name, default, help, secret: false }
}

const fn secret(name: &'static str, help: &'static str) -> Setting {
    Setting { name, default: None, help, secret: true }
}

/// All settings, in the order of `--help` and of the README.
pub const SETTINGS: &[Setting] = &[
    setting("listen", Some("127.0.0.1:8080"), "Address and port to serve on"),
    secret(
        "redis_url",
        "redis://, rediss://, redis+unix://, redis-sentinel:// or redis-cluster:// [default: redis://127.0.0.1:6379]",
    ),
    secret(
        "database_url",
        "postgres://user:password@host/database [default: postgres://127.0.0.1/onsale]",
    ),
    setting(
        "concerts",
        Some("concerts.toml"),
        "Path of the catalogue; SIGHUP makes `serve` read it again",
    ),
    setting("default_concert", None, "The concert meant by a request that names none"),
    setting("capacity", Some("1000"), "The most active tokens of a concert, 1 to 10000000"),
    setting("batch", Some("100"), "The most tokens promoted per second and concert, 1 to 1000000"),
    setting(
        "claim_ttl",
        Some("45s"),
        "How long a promoted token waits for its first use, 1s to 10m; polls come at least every 0.7 of it",
    ),
    setting("active_ttl", Some("10m"), "How long a token is active after its first use, 1s to 2h"),
    setting(
        "session_max",
        Some("30m"),
        "The longest time from promotion to the end, active_ttl to 6h",
    ),
    setting(
        "hold_ttl",
        Some("5m"),
        "How long a seat is held, 1s to 1h; with hold_grace below session_max",
    ),
    setting(
        "hold_grace",
        Some("60s"),
        "How far a payment may extend a hold, at least 2 payment_extension",
    ),
    setting("max_seats_per_user", Some("4"), "The most live holds of a user in a concert, 1 to 20"),
    setting(
        "payment_deadline",
        Some("10s"),
        "When a payment's statement may no longer act, counted from its begin, 200ms to 1m",
    ),
    setting(
        "payment_extension",
        Some("30s"),
        "How long a payment in flight protects its holds, at least 2 payment_deadline, to 5m",
    ),
    secret(
        "token_key",
        "32 bytes in hex or base64; several with commas: the first signs, all verify (`onsale dev` makes one)",
    ),
    secret(
        "admin_token",
        "Bearer token of the operators' routes, at least 16 characters; none: they are closed",
    ),
    setting(
        "auth",
        Some("trust"),
        "trust: believe the userId of a request; jwt: take it from a JWT",
    ),
    setting(
        "trust_user_ids",
        Some("false"),
        "true: a gateway has checked every userId. `serve` refuses auth=trust without it",
    ),
    secret("jwt_secret", "HS256 secret of the JWTs, at least 32 characters"),
    setting("jwks", None, "Path of a JWKS file with the public keys of the JWTs"),
    setting("jwt_audience", None, "The `aud` that a JWT must carry"),
    setting("jwt_issuer", None, "The `iss` that a JWT must carry"),
    setting("redis_timeout", Some("300ms"), "How long a Redis command may take, 50ms to 5s"),
    setting("database_connections", Some("24"), "Size of the PostgreSQL pool, 2 to 500"),
    setting(
        "reuse_port",
        Some("false"),
        "true: several servers of this machine may listen on the same port, and share its connections",
    ),
    setting("connections_max", Some("16384"), "The most open client connections, 1 to 1000000"),
    setting(
        "requests_max",
        Some("8192"),
        "The most requests in work, above it 503 (seats 0.9 of it, polls 0.8, arrivals 0.7), 1 to 1000000",
    ),
    setting(
        "streams_max",
        Some("8192"),
        "The most open streams of events, above it 503; each takes a connection, 0 to 1000000",
    ),
    setting(
        "streams_per_address",
        None,
        "The most open streams of one client address (IPv6: /64), 0 (no limit) to 1000000 [default: 1000; dev: 0]",
    ),
    setting(
        "heartbeat",
        Some("15s"),
        "How long a stream of events is silent at most; below what proxies allow, 1s to 60s",
    ),
    setting(
        "arrivals_per_address",
        None,
        "The most arrivals per second of one client address (IPv6: /64), ten times as many at once, 0 (no limit) to 1000000 [default: 100; dev: 0]",
    ),
    setting(
        "polls_per_address",
        None,
        "The same for polls, 0 (no limit) to 1000000 [default: 500; dev: 0]",
    ),
    setting(
        "proxy_hops",
        Some("0"),
        "How many trusted proxies append to X-Forwarded-For before this server is asked, 0 to 8",
    ),
    setting(
        "log",
        Some("info,sqlx=warn,tokio_cron_scheduler=warn"),
        "Log filter; onsale::http=debug adds a line per request",
    ),
    setting("log_format", Some("text"), "text or json"),
];

//! What a run is made of: both stores, the servers, and a proxy on every link between them.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use onsale::local::{DataFolder, LocalPostgres, PostgresOptions};
use sqlx::PgPool;

use crate::history::{ConcertSetup, Setup};
use crate::mutants::Patched;
use crate::processes::ServerProcess;
use crate::proxy::{Proxy, Target};
use crate::stage::{Plan, Stage};
use crate::topology::{self, Redis};

const TOKEN_KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

/// The connections of each server to PostgreSQL, and the most that PostgreSQL takes: few enough to
/// be exhausted on purpose.
pub const POOL: u32 = 8;
const DATABASE_CONNECTIONS: u32 = 60;

/// Short, so that holds lapse and tokens expire within seconds: each hold can be paid up to 7 s
/// after it was made, and a token lives 20 s at most.
const SETTINGS: [(&str, &str); 14] = [
    ("ONSALE_TOKEN_KEY", TOKEN_KEY),
    ("ONSALE_TRUST_USER_IDS", "true"),
    ("ONSALE_BATCH", "20"),
    ("ONSALE_CLAIM_TTL", "3s"),
    ("ONSALE_ACTIVE_TTL", "6s"),
    ("ONSALE_SESSION_MAX", "20s"),
    ("ONSALE_HOLD_TTL", "3s"),
    ("ONSALE_HOLD_GRACE", "4s"),
    ("ONSALE_PAYMENT_DEADLINE", "1s"),
    ("ONSALE_PAYMENT_EXTENSION", "2s"),
    ("ONSALE_MAX_SEATS_PER_USER", "4"),
    // All clients share one address here.
    ("ONSALE_ARRIVALS_PER_ADDRESS", "0"),
    ("ONSALE_POLLS_PER_ADDRESS", "0"),
    ("ONSALE_LOG", "warn"),
];

/// One server and the links to it and from it.
pub struct Server {
    pub process: ServerProcess,
    pub from_clients: Proxy,
    /// One for each Redis and Sentinel that it may ask.
    pub to_redis: Vec<Proxy>,
    pub to_postgres: Proxy,
}

/// Everything that runs.
pub struct World {
    // The servers end before the stores, and these before their folder.
    pub servers: Vec<Server>,
    pub redis: Redis,
    pub postgres: LocalPostgres,
    pub setup: Setup,
    pub stage: Stage,
    _folder: DataFolder,
}

impl World {
    /// Starts the stores and `servers` servers; logs and the catalogue go to the plan's folder.
    pub async fn start(plan: &Plan, servers: usize) -> anyhow::Result<Self> {
        let Plan { stage, out, folder } = plan;
        let patched = Patched::new(out, folder)?;
        let data = DataFolder::throwaway().await?;
        let postgres = PostgresOptions {
            connections_max: DATABASE_CONNECTIONS,
            ..PostgresOptions::throwaway()
        };
        let postgres = LocalPostgres::start(&data, postgres).await?;
        let redis = Redis::start(stage.topology, &data).await?;
        let pool = PgPool::connect(&postgres.url()).await?;
        patched.migrator.run(&pool).await?;
        pool.close().await;
        let setup = setup(stage, servers);
        redis.check_spread(&setup.concerts).await?;
        let catalogue = folder.join("concerts.toml");
        std::fs::write(&catalogue, catalogue_of(&setup.concerts))?;
        let mut settings = patched.settings;
        settings.extend(SETTINGS.map(|(name, value)| (name.to_owned(), value.to_owned())));
        settings.push(("ONSALE_CONCERTS".to_owned(), catalogue.display().to_string()));
        let socket = postgres_socket(&postgres).context("PostgreSQL has no socket")?;
        let mut started = Vec::new();
        for name in &setup.servers {
            let log = folder.join(format!("{name}.log"));
            started.push(start_server(name, log, &settings, &redis, &socket).await?);
        }
        Ok(Self { servers: started, redis, postgres, setup, stage: stage.clone(), _folder: data })
    }

    /// Gives the address of a pair that no Sentinels watch to this node.
    pub fn lead_to(&self, node: usize) {
        let target = topology::socket(self.redis.nodes()[node]);
        for proxy in self.servers.iter().flat_map(|server| &server.to_redis) {
            proxy.lead_to(target.clone());
        }
    }

    /// The keys of Redis of every date, one for each of these names.
    pub fn keys_of_dates(&self, names: &[&str]) -> Vec<String> {
        let mut keys = Vec::new();
        for ConcertSetup { id, dates, .. } in &self.setup.concerts {
            for date in dates {
                keys.extend(names.iter().map(|name| format!("{{c{id}}}:{name}:{date}")));
            }
        }
        keys
    }

    /// Connections to PostgreSQL that no proxy disturbs.
    pub async fn database(&self) -> sqlx::Result<PgPool> {
        PgPool::connect(&self.postgres.url()).await
    }
}

async fn start_server(
    name: &str,
    log: PathBuf,
    settings: &[(String, String)],
    redis: &Redis,
    postgres: &Path,
) -> anyhow::Result<Server> {
    let to_redis = redis.links().await?;
    let to_postgres = Proxy::start(Target::Unix(postgres.to_owned())).await?;
    let mut settings = settings.to_vec();
    let mut set = |name: &str, value: String| settings.push((name.to_owned(), value));
    set("ONSALE_DATABASE_CONNECTIONS", POOL.to_string());
    set("ONSALE_REDIS_URL", to_redis.url);
    let database = format!("postgres://onsale@{}/onsale?sslmode=disable", to_postgres.address());
    set("ONSALE_DATABASE_URL", database);
    let process = ServerProcess::new(name, log, settings)?;
    process.start(None).await?;
    let from_clients = Proxy::start(Target::Tcp(process.address)).await?;
    Ok(Server { process, from_clients, to_redis: to_redis.proxies, to_postgres })
}

/// The path in `host=` of its URL.
fn postgres_socket(postgres: &LocalPostgres) -> Option<PathBuf> {
    let url = postgres.url();
    let (_, rest) = url.split_once("host=")?;
    let (sockets, _) = rest.split_once('&')?;
    Some(Path::new(sockets).join(".s.PGSQL.5432"))
}

fn setup(stage: &Stage, servers: usize) -> Setup {
    let dates = |count: u32| (1..=count).map(|day| format!("2099-{day:02}-15")).collect();
    let concert = |id, days, seats, capacity| ConcertSetup {
        id,
        dates: dates(days),
        seats,
        price: 1000,
        capacity,
    };
    Setup {
        seed: stage.seed,
        topology: stage.topology.name().to_owned(),
        // The last one is soon sold out.
        concerts: vec![
            concert(1, 12, 120, 20),
            concert(2, 12, 120, 20),
            concert(3, 12, 120, 20),
            concert(4, 1, 12, 4),
        ],
        servers: (1..=servers).map(|number| format!("server-{number}")).collect(),
        seats_per_user_max: 4,
        hold_us: 3_000_000,
        hold_grace_us: 4_000_000,
        claim_ttl_us: 3_000_000,
        request_deadline_us: 5_000_000,
        board_age_us: 700_000,
        recovery_us: 10_000_000,
    }
}

fn catalogue_of(concerts: &[ConcertSetup]) -> String {
    let mut text = String::new();
    for concert in concerts {
        let ConcertSetup { id, dates, seats, price, capacity } = concert;
        let _ = write!(
            text,
            "[[concert]]\nid = {id}\nname = \"Concert {id}\"\ndates = {dates:?}\nseats = {seats}\n\
             price = {price}\ntime_zone = \"Asia/Seoul\"\ncapacity = {capacity}\n\n"
        );
    }
    text
}

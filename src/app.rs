//! One server: its state, its jobs, and the one table with every route.
//!
//! To find the code of a request, look it up in [`App::routes`] and follow the handler's name.

use std::sync::{Arc, OnceLock};

use axum::http::Method;
use axum::routing::{delete, get, post};
use futures::FutureExt;

use crate::auth::Auth;
use crate::concerts::{Concerts, Gates};
use crate::config::Config;
use crate::http::front::Front;
use crate::http::{HttpConfig, Measures, Priority, Routes};
use crate::ops::{Operators, Overview, Readiness, Samples};
use crate::payments::Payments;
use crate::queue::Queue;
use crate::redis::{LuaScript, Redis};
use crate::scheduler::{EVERY_5_SECONDS, EVERY_SECOND, Scheduler, Successes};
use crate::seats::Seats;
use crate::{concerts, openapi, ops, payments, postgres, queue, seats, web};

/// What every handler gets.
pub type AppState = Arc<App>;

/// The state of one server. It holds nothing that another server would need.
pub struct App {
    /// The catalogue.
    pub concerts: Concerts,
    /// The waiting line.
    pub queue: Queue,
    /// Free, held and sold seats.
    pub seats: Seats,
    /// Balances and payments.
    pub payments: Payments,
    /// How users are known.
    pub auth: Auth,
    /// Whether this server can do its work, and if not, what is missing.
    pub readiness: Readiness,
    /// Who is an operator.
    pub operators: Operators,
    /// What operators see.
    pub overview: Overview,
    /// The newest numbers of every sale.
    pub samples: Samples,
    /// What was verified.
    pub gates: Gates,
    /// When each job last succeeded.
    pub jobs: Successes,
    /// The guarded connections.
    pub redis: Redis,
    /// The pool.
    pub database: sqlx::PgPool,
    measures: OnceLock<Measures>,
    http: HttpConfig,
    scheduler: tokio::sync::Mutex<Option<Scheduler>>,
}

impl App {
    /// Connects (or goes on trying to) and starts the jobs.
    ///
    /// # Errors
    ///
    /// If a URL is not understood or the scheduler cannot start. Stores that are away are no error.
    pub async fn start(config: Config) -> anyhow::Result<AppState> {
        let concerts = Concerts::new(config.catalogue);
        let gates = Gates::default();
        let redis = Redis::connect(&config.redis, all_scripts())?;
        let database = postgres::connect(&config.database)?;
        let queue = Queue::new(
            redis.clone(),
            concerts.clone(),
            gates.clone(),
            config.queue,
            config.token_keys,
        );
        let seats = Seats::new(
            redis.clone(),
            concerts.clone(),
            gates.clone(),
            database.clone(),
            config.seats,
        );
        let payments = Payments::new(
            redis.clone(),
            concerts.clone(),
            gates.clone(),
            database.clone(),
            config.payments,
        );
        settle_before_loading(&redis, &queue, &payments);
        let mut scheduler = Scheduler::new().await?;
        let readiness = Readiness::new(
            redis.clone(),
            database.clone(),
            concerts.clone(),
            gates.clone(),
            scheduler.successes(),
        );
        let samples = Samples::new(redis.clone(), concerts.clone(), queue.clone());
        add_jobs(&scheduler, &queue, &seats, &payments, &samples).await?;
        let jobs = scheduler.successes();
        scheduler.start().await?;
        let overview = Overview::new(redis.clone(), concerts.clone(), queue.clone());
        Ok(Arc::new(Self {
            concerts,
            queue,
            seats,
            payments,
            auth: config.auth,
            readiness,
            operators: Operators::new(config.admin_token.as_ref()),
            overview,
            samples,
            gates,
            jobs,
            redis,
            database,
            measures: OnceLock::new(),
            http: config.http,
            scheduler: tokio::sync::Mutex::new(Some(scheduler)),
        }))
    }

    /// Every route of the API, and all that browsers get besides.
    #[must_use]
    pub fn routes() -> Routes<AppState> {
        use Priority::{Arrival, Health, Operation, Page, Payment, Seats, Status, Stream};
        Routes::new()
            // What is on sale.
            .route("/concerts", Page, get(concerts::routes::list_catalogue))
            // The line.
            .route("/user/token", Arrival, post(queue::routes::join_line))
            // Whoever leaves makes room for others.
            .route_of(Method::DELETE, "/user/token", Seats, delete(queue::routes::leave_line))
            .route("/user/token/status", Status, get(queue::routes::show_position))
            .route("/user/token/events", Stream, get(queue::events::stream_position))
            .route("/concert/{id}/fairness", Status, get(queue::fairness::show_fairness))
            // Seats.
            .route("/concert/available-dates", Seats, get(seats::routes::list_dates))
            .route("/concert/available-seats", Seats, get(seats::routes::list_seats))
            .route("/concert/{id}/seats/events", Stream, get(seats::events::stream_seats))
            .route(
                "/concert/reserve",
                Seats,
                post(seats::routes::reserve_seats).delete(seats::routes::release_seat),
            )
            // Money and what it buys.
            .route("/payment/charge", Payment, post(payments::routes::charge_balance))
            .route("/payment/balance", Payment, get(payments::routes::show_balance))
            .route("/payment", Payment, post(payments::routes::pay_holds))
            .route("/user/reservations", Seats, get(payments::routes::list_reservations))
            // Operation.
            .route("/healthz", Health, get(ops::routes::show_health))
            .route("/readyz", Health, get(ops::routes::show_readiness))
            .route(
                "/admin/concerts",
                Operation,
                get(ops::routes::list_concerts).patch(ops::controls::configure_concert),
            )
            .route("/admin/waiting", Operation, delete(ops::controls::clear_line))
            .route("/admin/holds", Operation, delete(ops::controls::release_holds))
            .route(
                "/admin/withheld",
                Operation,
                get(ops::withheld::list_withheld)
                    .post(ops::withheld::withhold_seats)
                    .delete(ops::withheld::give_seats_back),
            )
            .route("/admin/people", Operation, get(ops::people::show_person))
            .route("/admin/audit", Operation, get(ops::controls::list_changes))
            .route("/admin/dashboard", Operation, get(ops::dashboard::show_dashboard))
            .route("/admin/series", Operation, get(ops::dashboard::list_series))
            .route("/metrics", Operation, get(ops::metrics::show_metrics))
            .route("/openapi.json", Arrival, get(openapi::show_description))
            .files(&web::FILES)
            .redirect("/docs/", "../docs")
            .redirect("/ops/", "../ops")
    }

    /// The API with this server behind it.
    pub fn front(self: &Arc<Self>) -> Front {
        let front = Self::routes().finish(self.clone(), &self.http);
        self.measures.get_or_init(|| front.measures());
        front
    }

    /// What was answered; none before there is a front.
    pub fn measures(&self) -> Option<&Measures> {
        self.measures.get()
    }

    /// Stops the jobs and closes the connections, after the last request was answered.
    pub async fn stop(&self) {
        self.payments.drain().await;
        if let Some(scheduler) = self.scheduler.lock().await.take() {
            scheduler.stop().await;
        }
        self.database.close().await;
        self.redis.close().await;
    }
}

/// A Redis that does not know our scripts may be a new process: the numbers of every line are
/// settled before any script is loaded into it, and before a rebuild lets numbers be given.
fn settle_before_loading(redis: &Redis, line: &Queue, payments: &Payments) {
    let queue = line.clone();
    redis.on_forgotten(move |shard| {
        let queue = queue.clone();
        async move { queue.settle_all(&shard).await }.boxed()
    });
    let queue = line.clone();
    payments.settle_lines_by(move |concert| {
        let queue = queue.clone();
        async move { queue.settle(&concert).await.map(|_| ()) }.boxed()
    });
}

async fn add_jobs(
    scheduler: &Scheduler,
    queue: &Queue,
    seats: &Seats,
    payments: &Payments,
    samples: &Samples,
) -> anyhow::Result<()> {
    let line = queue.clone();
    scheduler.add(queue::PROMOTE_JOB, EVERY_SECOND, move || line.clone().promote_all()).await?;
    let sales = samples.clone();
    scheduler.add(ops::SAMPLE_JOB, EVERY_SECOND, move || sales.clone().take_all()).await?;
    let holds = seats.clone();
    let sweep = move || {
        let holds = holds.clone();
        async move { holds.sweep_all().await }
    };
    scheduler.add("seats.sweep", EVERY_5_SECONDS, sweep).await?;
    let money = payments.clone();
    let finish = move || money.clone().finish_unsynced();
    scheduler.add("payments.finish", EVERY_SECOND, finish).await?;
    let money = payments.clone();
    scheduler.add("payments.verify", EVERY_SECOND, move || money.clone().verify_all()).await
}

/// Every script of every slice, so that they are loaded together.
fn all_scripts() -> &'static [&'static LuaScript] {
    static ALL: std::sync::LazyLock<Vec<&'static LuaScript>> = std::sync::LazyLock::new(|| {
        [queue::SCRIPTS, seats::SCRIPTS, payments::SCRIPTS, ops::SCRIPTS].concat()
    });
    &ALL
}

//! A whole server in this process: real routes on a real socket, over the shared stores.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use onsale::concerts::{Catalogue, Concert};
use onsale::config::{Config, Resolver};
use onsale::local::LocalStores;
use onsale::queue::TokenKeys;
use onsale::words::Place;
use onsale::{app, http, postgres};
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use super::proxy::{Proxy, Target};
use super::stores;

/// The token key of all test servers: two servers of a test know each other's tokens.
pub const TOKEN_KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

/// What the servers of one test share: stores, a database of its own, and concerts of its own.
#[derive(Clone)]
pub struct Deployment {
    pub redis_url: String,
    pub database_url: String,
    pub concerts: Vec<Concert>,
    settings: Vec<(&'static str, String)>,
}

impl Deployment {
    /// A deployment that sells `concerts`, on the shared Redis and a fresh database.
    pub async fn new(concerts: Vec<Concert>) -> Self {
        let redis_url = stores().await.redis.url();
        Self { redis_url, database_url: fresh_database().await, concerts, settings: Vec::new() }
    }

    /// A deployment on stores of its own, which a test may stop, empty and restart.
    pub async fn on(stores: &LocalStores, concerts: Vec<Concert>) -> Self {
        let database_url = stores.postgres.url();
        let pool = PgPool::connect(&database_url).await.expect("PostgreSQL answers");
        postgres::migrate(&pool).await.expect("the schema");
        pool.close().await;
        Self { redis_url: stores.redis.url(), database_url, concerts, settings: Vec::new() }
    }

    /// Puts a proxy between the servers to be started and PostgreSQL.
    pub async fn proxy_database(&mut self) -> Proxy {
        let (owner, name) = {
            let address = self.database_url.split('?').next().unwrap_or_default();
            let owner = address.split("://").nth(1).and_then(|rest| rest.split('@').next());
            (owner.expect("an owner"), address.rsplit('/').next().expect("a name"))
        };
        let sockets =
            self.database_url.split("host=").nth(1).and_then(|rest| rest.split('&').next());
        let socket = PathBuf::from(sockets.expect("a socket folder")).join(".s.PGSQL.5432");
        let proxy = Proxy::start(Target::Unix(socket)).await.expect("a proxy");
        let address = proxy.address();
        self.database_url = format!("postgres://{owner}@{address}/{name}?sslmode=disable");
        proxy
    }

    /// Sets a setting by its name, in the written form.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: &str) -> Self {
        self.settings.push((name, value.to_owned()));
        self
    }

    /// The first concert.
    pub fn concert(&self) -> &Concert {
        &self.concerts[0]
    }

    /// The settings in force, by name.
    pub fn setting(&self, name: &str) -> Option<String> {
        let fixed = match name {
            "redis_url" => Some(self.redis_url.clone()),
            "database_url" => Some(self.database_url.clone()),
            "concerts" => Some(onsale::config::DEMO.to_owned()),
            "token_key" => Some(TOKEN_KEY.to_owned()),
            "trust_user_ids" => Some("true".to_owned()),
            "database_connections" => Some("6".to_owned()),
            // All clients of a test have one address.
            "arrivals_per_address" | "polls_per_address" | "streams_per_address" => {
                Some("0".to_owned())
            }
            _ => None,
        };
        let set = self.settings.iter().rev().find(|(given, _)| *given == name);
        set.map(|(_, value)| value.clone()).or(fixed)
    }

    /// Starts one server and waits until it is ready.
    pub async fn start(&self) -> TestServer {
        let server = self.start_unready().await;
        let ready = || async { server.get("/readyz").await.status == 200 };
        super::eventually("the server is ready", ready).await;
        server
    }

    /// Starts one server, whatever its stores do.
    pub async fn start_unready(&self) -> TestServer {
        let config = self.config();
        let limits = config.http.clone();
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = http::sockets::listen(listen, false).expect("a free port");
        let address = listener.local_addr().expect("an address");
        let state = app::App::start(config).await.expect("the server starts");
        let stop = CancellationToken::new();
        let (front, stopping) = (state.front(), stop.clone());
        let serving = tokio::spawn(async move {
            http::server::serve(listener, front, stopping, &limits).await;
        });
        TestServer { address, stop, serving: Arc::new(serving), http: reqwest::Client::new() }
    }

    /// The configuration of its servers.
    pub fn config(&self) -> Config {
        let resolver = Resolver::new(|name| self.setting(name), |_| None, None);
        let mut config = Config::read(resolver).unwrap_or_else(|faults| panic!("{faults:?}"));
        config.catalogue = Catalogue::new(self.concerts.clone(), None);
        config
    }

    /// A pool of its own on this deployment's database, for reading back.
    pub async fn database(&self) -> PgPool {
        PgPool::connect(&self.database_url).await.expect("PostgreSQL answers")
    }
}

/// The place inside of a token of these servers.
pub fn place_of(token: &str) -> Place {
    let keys = TokenKeys::parse(TOKEN_KEY).expect("a key");
    keys.verify(token).expect("a token of ours").place
}

/// The URL of a database with the schema and nothing in it.
pub async fn fresh_database() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    static TEMPLATE: tokio::sync::OnceCell<()> = tokio::sync::OnceCell::const_new();
    let postgres = &stores().await.postgres;
    TEMPLATE
        .get_or_init(|| async {
            postgres.create_database("template_onsale", None).await.expect("a database");
            let pool = PgPool::connect(&postgres.url_of("template_onsale")).await.expect("a pool");
            postgres::migrate(&pool).await.expect("the schema");
            pool.close().await;
        })
        .await;
    let name = format!("test_{}", NEXT.fetch_add(1, Ordering::Relaxed));
    postgres.create_database(&name, Some("template_onsale")).await.expect("a database");
    postgres.url_of(&name)
}

/// A running server.
pub struct TestServer {
    pub address: SocketAddr,
    stop: CancellationToken,
    serving: Arc<tokio::task::JoinHandle<()>>,
    http: reqwest::Client,
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.stop.cancel();
        self.serving.abort();
    }
}

/// An answer, read completely.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub body: Value,
}

impl Answer {
    /// The `code` of a problem.
    pub fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or("(no problem)")
    }

    /// Status and code, for comparing.
    pub fn refusal(&self) -> (u16, &str) {
        (self.status, self.code())
    }

    /// The text of a field.
    ///
    /// # Panics
    ///
    /// If it is not there.
    pub fn text(&self, field: &str) -> String {
        self.body[field].as_str().unwrap_or_else(|| panic!("no {field}: {self:?}")).to_owned()
    }

    /// Fails the test unless the status is `status`.
    ///
    /// # Panics
    ///
    /// If it is another.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.body);
        self
    }
}

impl TestServer {
    /// A server that somebody else runs.
    pub fn at(address: SocketAddr) -> Self {
        Self {
            address,
            stop: CancellationToken::new(),
            serving: Arc::new(tokio::spawn(async {})),
            http: reqwest::Client::new(),
        }
    }

    /// The same server for somebody whose every request carries `Authorization: Bearer`.
    pub fn bearing(&self, token: &str) -> Self {
        let mut headers = reqwest::header::HeaderMap::new();
        let value = format!("Bearer {token}").parse().expect("a token");
        headers.insert(reqwest::header::AUTHORIZATION, value);
        let http = reqwest::Client::builder().default_headers(headers).build();
        let mut server = Self::at(self.address);
        server.http = http.expect("a client");
        server
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Sends a request with an optional token and body.
    pub async fn send(
        &self,
        method: &str,
        path: &str,
        token: Option<&str>,
        body: Option<Value>,
    ) -> Answer {
        let method = method.parse().expect("a method");
        let mut request = self.http.request(method, self.url(path));
        if let Some(token) = token {
            request = request.header("Queue-Token", token);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        self.answer(request).await
    }

    /// Sends a request that was built by hand; see [`Self::request`].
    pub async fn answer(&self, request: reqwest::RequestBuilder) -> Answer {
        let response = request.send().await.expect("the server answers");
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let bytes = response.bytes().await.expect("the whole answer");
        let body = serde_json::from_slice(&bytes)
            .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&bytes).into_owned()));
        Answer { status, headers, body }
    }

    /// A request to finish by hand.
    pub fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        self.http.request(method.parse().expect("a method"), self.url(path))
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, None, None).await
    }

    pub async fn get_as(&self, token: &str, path: &str) -> Answer {
        self.send("GET", path, Some(token), None).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.send("POST", path, None, Some(body)).await
    }

    pub async fn post_as(&self, token: &str, path: &str, body: Value) -> Answer {
        self.send("POST", path, Some(token), Some(body)).await
    }

    pub async fn delete_as(&self, token: &str, path: &str) -> Answer {
        self.send("DELETE", path, Some(token), None).await
    }

    /// Arrives in the line of `concert` as `user`: the token.
    pub async fn join(&self, concert: &Concert, user: u64) -> String {
        let body = json!({"concertId": concert.id, "userId": user});
        let answer = self.post("/user/token", body).await;
        assert!(matches!(answer.status, 200 | 201), "{answer:?}");
        answer.text("token")
    }

    /// Arrives and waits until the token is active.
    pub async fn admitted(&self, concert: &Concert, user: u64) -> String {
        let token = self.join(concert, user).await;
        self.wait_until_active(&token).await;
        token
    }

    /// Polls until `token` is active.
    pub async fn wait_until_active(&self, token: &str) {
        let active = || async {
            self.get_as(token, "/user/token/status").await.expect(200).body["status"] == "active"
        };
        super::eventually("the token is active", active).await;
    }

    /// Gives `user` money through the API.
    pub async fn charge(&self, token: &str, user: u64, amount: u64) {
        let body = json!({"userId": user, "amount": amount});
        self.post_as(token, "/payment/charge", body).await.expect(200);
    }

    /// Reserves one seat of the concert's only date.
    pub async fn reserve(&self, token: &str, concert: &Concert, user: u64, seat: u32) -> Answer {
        let body = json!({"userId": user, "concertId": concert.id, "seatNumber": seat});
        self.post_as(token, "/concert/reserve", body).await
    }

    /// Pays all live holds of the token.
    pub async fn pay(&self, token: &str, user: u64) -> Answer {
        self.post_as(token, "/payment", json!({"userId": user})).await
    }
}

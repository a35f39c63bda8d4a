//! Servers that reach their stores through proxies, so that a test can break either link.

use std::path::PathBuf;

use super::proxy::{Proxy, Target};
use super::server::Deployment;

/// The links of a deployment to its stores.
pub struct Links {
    pub to_redis: Proxy,
    pub to_postgres: Proxy,
    /// The deployment behind them; the one that it was made of goes around them.
    pub deployment: Deployment,
}

impl Links {
    /// Proxies in front of both stores of `around`.
    pub async fn of(around: &Deployment) -> Self {
        let redis = around.redis_url.strip_prefix("redis+unix://").expect("a unix socket");
        let to_redis = Proxy::start(Target::Unix(PathBuf::from(redis))).await.expect("a proxy");
        let (database, socket) = postgres_address(&around.database_url);
        let to_postgres = Proxy::start(Target::Unix(socket)).await.expect("a proxy");
        let mut deployment = around.clone();
        deployment.redis_url = format!("redis://{}", to_redis.address());
        let address = to_postgres.address();
        deployment.database_url = format!("postgres://onsale@{address}/{database}?sslmode=disable");
        Self { to_redis, to_postgres, deployment }
    }
}

/// The database of a URL of a private PostgreSQL, and the path of its socket.
fn postgres_address(url: &str) -> (String, PathBuf) {
    let (address, query) = url.split_once('?').expect("a query");
    let database = address.rsplit('/').next().expect("a database");
    let folder = query.split('&').find_map(|part| part.strip_prefix("host=")).expect("a folder");
    (database.to_owned(), PathBuf::from(folder).join(".s.PGSQL.5432"))
}

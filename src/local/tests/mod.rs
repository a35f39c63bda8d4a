//! Real servers, started, killed and found again.

mod folders;
mod leftovers;
mod servers;
mod topologies;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use sqlx::{Connection, PgConnection};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

use super::server::poll_until;
use super::*;

/// Says one inline command and reads a one-line or one-value answer.
async fn ask(redis: &LocalRedis, command: &str) -> String {
    let mut stream = BufReader::new(UnixStream::connect(redis.socket()).await.expect("connect"));
    stream.write_all(format!("{command}\r\n").as_bytes()).await.expect("send");
    let mut line = String::new();
    stream.read_line(&mut line).await.expect("read");
    if let Some(length) = line.trim().strip_prefix('$').and_then(|n| n.parse::<usize>().ok()) {
        let mut value = vec![0; length];
        stream.read_exact(&mut value).await.expect("read");
        return String::from_utf8(value).expect("text");
    }
    line.trim().to_owned()
}

async fn scalar(url: &str, query: &'static str) -> String {
    let mut connection = PgConnection::connect(url).await.expect("connect");
    sqlx::query_scalar(query).fetch_one(&mut connection).await.expect("query")
}

async fn run(url: &str, statement: &'static str) {
    let mut connection = PgConnection::connect(url).await.expect("connect");
    sqlx::raw_sql(statement).execute(&mut connection).await.expect("execute");
}

/// A folder that PostgreSQL's account can reach, removed with the value.
fn folder() -> tempfile::TempDir {
    let dir = tempfile::Builder::new().prefix("onsale-local-").tempdir().expect("folder");
    let mode = fs::Permissions::from_mode(0o755);
    fs::set_permissions(dir.path(), mode).expect("mode");
    dir
}

fn durable(dir: &Path, reset: bool) -> StoresOptions {
    StoresOptions { dir: Some(dir.to_owned()), reset, durability: Durability::Durable }
}

async fn start(dir: &Path) -> LocalStores {
    LocalStores::start(durable(dir, false)).await.expect("stores")
}

fn is_alive(pid: i32) -> bool {
    // A zombie has no command line.
    super::leftover::command_line(pid).is_some()
}

//! Real servers, started, killed and found again.

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
    stream
        .write_all(format!("{command}\r\n").as_bytes())
        .await
        .expect("send");
    let mut line = String::new();
    stream.read_line(&mut line).await.expect("read");
    if let Some(length) = line
        .trim()
        .strip_prefix('$')
        .and_then(|n| n.parse::<usize>().ok())
    {
        let mut value = vec![0; length];
        stream.read_exact(&mut value).await.expect("read");
        return String::from_utf8(value).expect("text");
    }
    line.trim().to_owned()
}

async fn scalar(url: &str, query: &'static str) -> String {
    let mut connection = PgConnection::connect(url).await.expect("connect");
    sqlx::query_scalar(query)
        .fetch_one(&mut connection)
        .await
        .expect("query")
}

async fn run(url: &str, statement: &'static str) {
    let mut connection = PgConnection::connect(url).await.expect("connect");
    sqlx::raw_sql(statement)
        .execute(&mut connection)
        .await
        .expect("execute");
}

/// A folder that PostgreSQL's account can reach, removed with the value.
fn folder() -> tempfile::TempDir {
    let dir = tempfile::Builder::new()
        .prefix("onsale-local-")
        .tempdir()
        .expect("folder");
    let mode = fs::Permissions::from_mode(0o755);
    fs::set_permissions(dir.path(), mode).expect("mode");
    dir
}

fn durable(dir: &Path, reset: bool) -> StoresOptions {
    StoresOptions {
        dir: Some(dir.to_owned()),
        reset,
        durability: Durability::Durable,
    }
}

async fn start(dir: &Path) -> LocalStores {
    LocalStores::start(durable(dir, false))
        .await
        .expect("stores")
}

fn is_alive(pid: i32) -> bool {
    // A zombie has no command line.
    fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty())
}

#[tokio::test]
async fn a_redis_killed_with_an_append_only_file_keeps_what_it_held() {
    let options = RedisOptions {
        appendonly: true,
        tcp: true,
        ..RedisOptions::throwaway()
    };
    let redis = LocalRedis::throwaway(options).await.expect("redis");
    assert_eq!(ask(&redis, "SET place 7").await, "+OK");
    let (pid, tcp) = (redis.pid().expect("a pid"), redis.tcp_url());

    redis.kill().await;
    assert_eq!(redis.pid(), None);
    assert!(!is_alive(pid));
    redis.restart().await.expect("restart");

    assert_eq!(ask(&redis, "GET place").await, "7");
    assert_ne!(redis.pid(), Some(pid));
    assert_eq!(redis.tcp_url(), tcp, "the port stays");
    let address = tcp.expect("a port").replace("redis://", "");
    tokio::net::TcpStream::connect(address)
        .await
        .expect("it listens on TCP");
}

#[tokio::test]
async fn a_redis_without_one_comes_back_empty_and_its_settings_hold() {
    let mut options = RedisOptions::throwaway();
    options
        .settings
        .push(("maxmemory".to_owned(), "10mb".to_owned()));
    let redis = LocalRedis::throwaway(options).await.expect("redis");
    ask(&redis, "SET place 7").await;

    redis.restart().await.expect("restart");

    assert_eq!(ask(&redis, "EXISTS place").await, ":0");
    let memory = ask(&redis, "INFO memory").await;
    assert!(memory.contains("maxmemory:10485760"), "{memory}");
    assert!(memory.contains("maxmemory_policy:noeviction"), "{memory}");
}

#[tokio::test]
async fn a_paused_redis_says_nothing_until_it_goes_on() {
    let redis = LocalRedis::throwaway(RedisOptions::throwaway())
        .await
        .expect("redis");
    redis.pause();
    let silent = tokio::time::timeout(Duration::from_millis(200), ask(&redis, "PING")).await;
    assert!(silent.is_err(), "it answered {silent:?}");
    redis.resume();
    assert_eq!(ask(&redis, "PING").await, "+PONG");
    redis.pause();
    redis
        .stop()
        .await
        .expect("a paused server can be stopped in order");
}

#[tokio::test]
async fn fred_and_sqlx_understand_the_addresses() {
    use fred::prelude::{ClientLike, Config, KeysInterface};
    let stores = shared().await.expect("stores");
    let config = Config::from_url(&stores.redis.url()).expect("the URL");
    let client = fred::clients::Client::new(config, None, None, None);
    client.init().await.expect("connect");
    client
        .set::<(), _, _>("local:url", "1", None, None, false)
        .await
        .expect("set");
    assert_eq!(ask(&stores.redis, "GET local:url").await, "1");
    let name = scalar(&stores.postgres.url(), "select current_database()::text").await;
    assert_eq!(name, "onsale");
    let setting = "select concat_ws(' ', current_setting('listen_addresses'), \
                   current_setting('server_encoding'), current_setting('timezone'))";
    assert_eq!(scalar(&stores.postgres.url(), setting).await, " UTF8 UTC");
}

#[tokio::test]
async fn databases_are_copies_of_their_template_and_keep_apart() {
    let postgres = &shared().await.expect("stores").postgres;
    postgres
        .create_database("local_template", None)
        .await
        .expect("template");
    run(
        &postgres.url_of("local_template"),
        "create table t(n int); insert into t values (7)",
    )
    .await;

    let names = ["local_a", "local_b", "local_c"];
    let made = names.map(|name| postgres.create_database(name, Some("local_template")));
    futures::future::try_join_all(made)
        .await
        .expect("copies, all at once");
    run(&postgres.url_of("local_a"), "update t set n = 8").await;

    assert_eq!(
        scalar(&postgres.url_of("local_a"), "select n::text from t").await,
        "8"
    );
    assert_eq!(
        scalar(&postgres.url_of("local_b"), "select n::text from t").await,
        "7"
    );
    postgres.drop_database("local_c").await.expect("drop");
    let err = postgres
        .create_database("local_b", None)
        .await
        .expect_err("it is there");
    assert!(format!("{err:#}").contains("already exists"), "{err:#}");
    let err = postgres
        .create_database("a; drop", None)
        .await
        .expect_err("not a name");
    assert!(err.to_string().contains("plain"), "{err:#}");
}

#[tokio::test]
async fn a_killed_postgres_keeps_what_it_acknowledged_and_takes_its_backends_along() {
    let options = PostgresOptions::throwaway();
    let postgres = LocalPostgres::throwaway(options).await.expect("postgres");
    run(
        &postgres.url(),
        "create table t(n int); insert into t values (7)",
    )
    .await;
    let mut open = PgConnection::connect(&postgres.url())
        .await
        .expect("connect");
    let backend: i32 = sqlx::query_scalar("select pg_backend_pid()")
        .fetch_one(&mut open)
        .await
        .expect("a backend's pid");

    postgres.pause();
    let ping = tokio::time::timeout(Duration::from_millis(200), open.ping()).await;
    assert!(ping.is_err(), "a paused backend answered {ping:?}");
    postgres.kill().await;
    assert!(poll_until(Duration::from_secs(5), || !is_alive(backend)).await);
    postgres.restart().await.expect("restart");

    assert_eq!(scalar(&postgres.url(), "select n::text from t").await, "7");
}

#[tokio::test]
async fn a_second_start_finds_the_data_of_the_first_until_it_is_reset() {
    let dir = folder();
    let dir = dir.path().join("data");
    let first = start(&dir).await;
    ask(&first.redis, "SET place 7").await;
    run(
        &first.postgres.url(),
        "create table t(n int); insert into t values (7)",
    )
    .await;
    first.stop().await.expect("an orderly end");
    drop(first);

    let second = start(&dir).await;
    assert_eq!(ask(&second.redis, "GET place").await, "7");
    assert_eq!(
        scalar(&second.postgres.url(), "select n::text from t").await,
        "7"
    );
    assert_eq!(scalar(&second.postgres.url(), "show fsync").await, "on");
    assert!(
        ask(&second.redis, "INFO persistence")
            .await
            .contains("aof_enabled:1")
    );
    drop(second);

    let third = LocalStores::start(durable(&dir, true))
        .await
        .expect("stores");
    assert_eq!(ask(&third.redis, "EXISTS place").await, ":0");
    let tables = "select count(*)::text from pg_tables where tablename = 't'";
    assert_eq!(scalar(&third.postgres.url(), tables).await, "0");
}

#[tokio::test]
async fn a_folder_in_use_is_refused_with_the_pid_of_its_user() {
    let dir = folder();
    let first = DataFolder::open(dir.path()).await.expect("the first");
    let err = DataFolder::open(dir.path())
        .await
        .expect_err("the second")
        .to_string();
    assert!(
        err.contains(&format!("pid {}", std::process::id())),
        "{err}"
    );
    drop(first);
    DataFolder::open(dir.path()).await.expect("free again");
}

#[tokio::test]
async fn a_foreign_folder_is_neither_used_nor_emptied() {
    let dir = folder();
    let precious = dir.path().join("precious.txt");
    fs::write(&precious, "mine").expect("write");
    for reset in [false, true] {
        let err = LocalStores::start(durable(dir.path(), reset))
            .await
            .err()
            .expect("refused");
        assert!(
            err.to_string().contains("was not made by onsale"),
            "{err:#}"
        );
    }
    assert_eq!(
        fs::read_dir(dir.path()).expect("read").count(),
        1,
        "nothing was added"
    );
    assert_eq!(fs::read_to_string(precious).expect("read"), "mine");
}

#[tokio::test]
async fn a_deep_folder_or_an_odd_name_gets_its_sockets_elsewhere() {
    let dir = folder();
    for name in ["deep/".repeat(25), "with space, ünd?#%".to_owned()] {
        let stores = start(&dir.path().join(name)).await;
        assert_eq!(ask(&stores.redis, "PING").await, "+PONG");
        let config = fred::types::config::Config::from_url(&stores.redis.url()).expect("the URL");
        let expected = fred::types::config::ServerConfig::new_unix_socket(stores.redis.socket());
        assert_eq!(config.server, expected);
        assert!(!stores.redis.socket().starts_with(dir.path()));
        assert_eq!(
            scalar(&stores.postgres.url(), "select 'there'").await,
            "there"
        );
    }
}

#[tokio::test]
async fn a_folder_behind_a_closed_one_is_refused_with_advice() {
    if !rustix::process::geteuid().is_root() {
        return; // Only root runs PostgreSQL as somebody else.
    }
    let dir = folder();
    let closed = dir.path().join("closed");
    fs::create_dir(&closed).expect("folder");
    let mode = fs::Permissions::from_mode(0o700);
    fs::set_permissions(&closed, mode).expect("mode");
    let err = LocalStores::start(durable(&closed.join("data"), false))
        .await
        .err()
        .expect("refused");
    let advice = format!(
        "chmod o+x {}",
        closed.canonicalize().expect("path").display()
    );
    assert!(format!("{err:#}").contains(&advice), "{err:#}");
}

#[tokio::test]
async fn a_server_that_does_not_come_up_shows_the_end_of_its_log() {
    let mut options = RedisOptions::throwaway();
    options
        .settings
        .push(("maxmemory-policy".to_owned(), "nonsense".to_owned()));
    let err = LocalRedis::throwaway(options)
        .await
        .err()
        .expect("refused")
        .to_string();
    assert!(err.contains("nonsense"), "{err}");
}

#[tokio::test]
async fn dropped_throwaway_stores_leave_nothing_behind() {
    let stores = LocalStores::throwaway().await.expect("stores");
    let pids = [stores.redis.pid(), stores.postgres.pid()].map(|pid| pid.expect("a pid"));
    let root = stores.folder().path().to_owned();
    drop(stores);
    assert!(!pids.into_iter().any(is_alive));
    assert!(!root.exists());
}

/// Names the data folder for [`a_process_of_its_own`]; `throwaway` for none.
const HELPER: &str = "ONSALE_TEST_LOCAL_HELPER";

/// Runs this test program again, as a process that starts stores and waits to be killed.
fn helper(dir: &str) -> (Child, PathBuf) {
    let report = std::env::temp_dir().join(format!("onsale-{}", uuid::Uuid::new_v4()));
    let helper = Command::new(std::env::current_exe().expect("this program"))
        .args([
            "--exact",
            "local::tests::a_process_of_its_own",
            "--nocapture",
        ])
        .env(HELPER, format!("{dir}\n{}", report.display()))
        .stdout(Stdio::null())
        .process_group(0)
        .spawn()
        .expect("helper");
    (helper, report)
}

/// What the helper reports: folder, the pids of Redis and PostgreSQL.
async fn reported(report: &Path) -> (PathBuf, Vec<i32>) {
    assert!(
        poll_until(Duration::from_mins(1), || report.exists()).await,
        "the helper started"
    );
    let text = fs::read_to_string(report).expect("report");
    fs::remove_file(report).expect("remove");
    let mut lines = text.lines();
    let folder = PathBuf::from(lines.next().expect("a folder"));
    (
        folder,
        lines.map(|pid| pid.parse().expect("a pid")).collect(),
    )
}

/// In its own process (see [`helper`]): starts stores, reports, waits to be killed. In the test
/// run itself it shows that a running set of stores names its folder and pids.
#[tokio::test]
async fn a_process_of_its_own() {
    let order = std::env::var(HELPER).unwrap_or_else(|_| "throwaway\n".to_owned());
    let (dir, report) = order.split_once('\n').expect("two lines");
    let stores = match dir {
        "throwaway" => shared().await.expect("stores"),
        dir => Box::leak(Box::new(start(Path::new(dir)).await)),
    };
    let pids = [stores.redis.pid(), stores.postgres.pid()].map(|pid| pid.expect("a pid"));
    assert!(pids.into_iter().all(is_alive));
    if report.is_empty() {
        return;
    }
    ask(&stores.redis, "SET place 7").await;
    let text = format!(
        "{}\n{}\n{}\n",
        stores.folder().path().display(),
        pids[0],
        pids[1]
    );
    fs::write(format!("{report}.new"), text).expect("report");
    fs::rename(format!("{report}.new"), report).expect("report");
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn stores_die_with_a_killed_process_and_a_throwaway_folder_goes_too() {
    let (mut helper, report) = helper("throwaway");
    let (root, pids) = reported(&report).await;
    assert!(pids.iter().all(|pid| is_alive(*pid)));
    helper.kill().expect("kill");
    helper.wait().expect("wait");
    let gone = || !pids.iter().any(|pid| is_alive(*pid));
    assert!(
        poll_until(Duration::from_secs(10), gone).await,
        "the servers live on"
    );
    assert!(
        poll_until(Duration::from_secs(10), || !root.exists()).await,
        "the folder stays"
    );
}

#[tokio::test]
async fn the_next_start_after_a_kill_takes_the_data_over() {
    let dir = folder();
    let path = dir.path().join("data");
    let (mut helper, report) = helper(path.to_str().expect("text"));
    let (_, pids) = reported(&report).await;
    helper.kill().expect("kill");
    helper.wait().expect("wait");

    let stores = start(&path).await;

    assert!(!pids.into_iter().any(is_alive), "the old servers are gone");
    assert_eq!(ask(&stores.redis, "GET place").await, "7");
}

/// Without the system's help (another one than Linux, a server that was started another way) the
/// pid files alone must do.
#[tokio::test]
async fn servers_left_behind_are_found_by_their_pid_files_and_stopped_in_order() {
    let dir = folder();
    let dir = dir.path().join("data");
    let stores = start(&dir).await;
    let (redis_dir, sockets) = (
        stores.redis.dir().to_owned(),
        stores.postgres.dir().to_owned(),
    );
    drop(stores);
    // The same servers on the same folder, but nobody's children.
    let mut redis = Command::new("redis-server")
        .args([
            "--port",
            "0",
            "--appendonly",
            "yes",
            "--save",
            "",
            "--unixsocket",
            "redis.sock",
        ])
        .args(["--pidfile", "redis.pid", "--dir"])
        .arg(&redis_dir)
        .stdout(Stdio::null())
        .spawn()
        .expect("redis-server");
    let account = super::account::Account::for_postgres().expect("account");
    let programs = super::programs::postgres(None).expect("PostgreSQL");
    let mut postgres = Command::new(programs.postgres);
    postgres
        .arg("-D")
        .arg(sockets.join("data"))
        .arg("-k")
        .arg(&sockets);
    postgres
        .args(["-c", "listen_addresses="])
        .stderr(Stdio::null())
        .current_dir("/");
    if let Some(account) = &account {
        account.apply(&mut postgres);
    }
    let mut postgres = postgres.spawn().expect("postgres");
    let socket = redis_dir.join("redis.sock");
    let up = || socket.exists() && sockets.join(".s.PGSQL.5432").exists();
    assert!(poll_until(Duration::from_secs(20), up).await);

    let stores = start(&dir).await;

    assert!(
        redis
            .try_wait()
            .expect("wait")
            .is_some_and(|status| status.success())
    );
    assert!(
        postgres
            .try_wait()
            .expect("wait")
            .is_some_and(|status| status.success())
    );
    assert_eq!(ask(&stores.redis, "PING").await, "+PONG");
}

#[tokio::test]
async fn a_pid_file_that_names_somebody_else_harms_nobody() {
    let dir = folder();
    drop(DataFolder::open(dir.path()).await.expect("folder"));
    let part = dir.path().join("redis");
    fs::create_dir(&part).expect("folder");
    let mut other = Command::new("sleep").arg("60").spawn().expect("sleep");
    fs::write(part.join("redis.pid"), other.id().to_string()).expect("pid file");

    let folder = DataFolder::open(dir.path()).await.expect("folder");
    LocalRedis::start(&folder, RedisOptions::durable())
        .await
        .expect("redis");

    assert!(
        other.try_wait().expect("wait").is_none(),
        "it was left alone"
    );
    other.kill().expect("kill");
    other.wait().expect("wait");
}

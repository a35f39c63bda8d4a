//! Servers whose process was killed.

use super::*;

/// Names the data folder for [`a_process_of_its_own`]; `throwaway` for none.
const HELPER: &str = "ONSALE_TEST_LOCAL_HELPER";

/// Runs this test program again, as a process that starts stores and waits to be killed.
fn helper(dir: &str) -> (Child, PathBuf) {
    let report = std::env::temp_dir().join(format!("onsale-{}", uuid::Uuid::new_v4()));
    let helper = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "local::tests::leftovers::a_process_of_its_own", "--nocapture"])
        .env(HELPER, format!("{dir}\n{}", report.display()))
        .stdout(Stdio::null())
        .process_group(0)
        .spawn()
        .expect("helper");
    (helper, report)
}

/// What the helper reports: folder, the pids of Redis and PostgreSQL.
async fn reported(report: &Path) -> (PathBuf, Vec<i32>) {
    assert!(poll_until(Duration::from_mins(1), || report.exists()).await, "the helper started");
    let text = fs::read_to_string(report).expect("report");
    fs::remove_file(report).expect("remove");
    let mut lines = text.lines();
    let folder = PathBuf::from(lines.next().expect("a folder"));
    (folder, lines.map(|pid| pid.parse().expect("a pid")).collect())
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
    let text = format!("{}\n{}\n{}\n", stores.folder().path().display(), pids[0], pids[1]);
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
    assert!(poll_until(Duration::from_secs(10), gone).await, "the servers live on");
    assert!(poll_until(Duration::from_secs(10), || !root.exists()).await, "the folder stays");
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
    let (redis_dir, sockets) = (stores.redis.dir().to_owned(), stores.postgres.dir().to_owned());
    drop(stores);
    // The same servers on the same folder, but nobody's children.
    let mut redis = Command::new("redis-server")
        .args(["--port", "0", "--appendonly", "yes", "--save", "", "--unixsocket", "redis.sock"])
        .args(["--pidfile", "redis.pid", "--dir"])
        .arg(&redis_dir)
        .stdout(Stdio::null())
        .spawn()
        .expect("redis-server");
    let account = super::super::account::Account::for_postgres().expect("account");
    let programs = super::super::programs::postgres(None).expect("PostgreSQL");
    let mut postgres = Command::new(programs.postgres);
    postgres.arg("-D").arg(sockets.join("data")).arg("-k").arg(&sockets);
    postgres.args(["-c", "listen_addresses="]).stderr(Stdio::null()).current_dir("/");
    if let Some(account) = &account {
        account.apply(&mut postgres);
    }
    let mut postgres = postgres.spawn().expect("postgres");
    let socket = redis_dir.join("redis.sock");
    let up = || socket.exists() && sockets.join(".s.PGSQL.5432").exists();
    assert!(poll_until(Duration::from_secs(20), up).await);

    let stores = start(&dir).await;

    assert!(redis.try_wait().expect("wait").is_some_and(|status| status.success()));
    assert!(postgres.try_wait().expect("wait").is_some_and(|status| status.success()));
    assert_eq!(ask(&stores.redis, "PING").await, "+PONG");
}

#[tokio::test]
async fn pid_files_that_name_somebody_else_harm_nobody_and_stop_no_start() {
    let dir = folder();
    let stores = start(dir.path()).await;
    ask(&stores.redis, "SET place 7").await;
    let redis_file = stores.redis.dir().join("redis.pid");
    let postgres_file = stores.postgres.dir().join("data/postmaster.pid");
    let old = fs::read_to_string(&postgres_file).expect("a pid file");
    drop(stores);
    // PostgreSQL itself refuses to start while its pid file names a process of its own account.
    let mut other = Command::new("sleep");
    other.arg("60");
    if let Some(account) = super::super::account::Account::for_postgres().expect("account") {
        account.apply(&mut other);
    }
    let mut other = other.spawn().expect("sleep");
    let (_, rest) = old.split_once('\n').expect("lines");
    fs::write(&postgres_file, format!("{}\n{rest}", other.id())).expect("pid file");
    fs::write(&redis_file, other.id().to_string()).expect("pid file");

    let stores = start(dir.path()).await;

    assert_eq!(ask(&stores.redis, "GET place").await, "7");
    assert!(other.try_wait().expect("wait").is_none(), "it was left alone");
    other.kill().expect("kill");
    other.wait().expect("wait");
}

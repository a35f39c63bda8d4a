//! Data folders: kept, in use, foreign, deep, closed.

use super::*;

#[tokio::test]
async fn a_second_start_finds_the_data_of_the_first_until_it_is_reset() {
    let dir = folder();
    let dir = dir.path().join("data");
    let first = start(&dir).await;
    ask(&first.redis, "SET place 7").await;
    run(&first.postgres.url(), "create table t(n int); insert into t values (7)").await;
    first.stop().await.expect("an orderly end");
    drop(first);

    let second = start(&dir).await;
    assert_eq!(ask(&second.redis, "GET place").await, "7");
    assert_eq!(scalar(&second.postgres.url(), "select n::text from t").await, "7");
    assert_eq!(scalar(&second.postgres.url(), "show fsync").await, "on");
    assert!(ask(&second.redis, "INFO persistence").await.contains("aof_enabled:1"));
    drop(second);

    let third = LocalStores::start(durable(&dir, true)).await.expect("stores");
    assert_eq!(ask(&third.redis, "EXISTS place").await, ":0");
    let tables = "select count(*)::text from pg_tables where tablename = 't'";
    assert_eq!(scalar(&third.postgres.url(), tables).await, "0");
}

#[tokio::test]
async fn a_folder_in_use_is_refused_with_the_pid_of_its_user() {
    let dir = folder();
    let first = DataFolder::open(dir.path()).await.expect("the first");
    let err = DataFolder::open(dir.path()).await.expect_err("the second").to_string();
    assert!(err.contains(&format!("pid {}", std::process::id())), "{err}");
    drop(first);
    DataFolder::open(dir.path()).await.expect("free again");
}

#[tokio::test]
async fn a_foreign_folder_is_neither_used_nor_emptied() {
    let dir = folder();
    let precious = dir.path().join("precious.txt");
    fs::write(&precious, "mine").expect("write");
    for reset in [false, true] {
        let err = LocalStores::start(durable(dir.path(), reset)).await.err().expect("refused");
        assert!(err.to_string().contains("was not made by onsale"), "{err:#}");
    }
    assert_eq!(fs::read_dir(dir.path()).expect("read").count(), 1, "nothing was added");
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
        assert_eq!(scalar(&stores.postgres.url(), "select 'there'").await, "there");
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
    let err =
        LocalStores::start(durable(&closed.join("data"), false)).await.err().expect("refused");
    let advice = format!("chmod o+x {}", closed.canonicalize().expect("path").display());
    assert!(format!("{err:#}").contains(&advice), "{err:#}");
}

#[tokio::test]
async fn the_usual_folder_is_near_unless_it_cannot_be_reached() {
    let dir = folder();
    let near = dir.path().canonicalize().expect("path");
    assert_eq!(default_data_dir(&near).expect("near"), near.join("data"));
    fs::set_permissions(&near, fs::Permissions::from_mode(0o700)).expect("mode");
    let far = default_data_dir(&near).expect("a folder");
    assert_eq!(far.starts_with("/var/lib"), rustix::process::geteuid().is_root(), "{far:?}");
}

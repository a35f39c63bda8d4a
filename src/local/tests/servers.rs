//! One server: what it keeps, how it ends, what its addresses are.

use super::*;

#[tokio::test]
async fn a_redis_killed_with_an_append_only_file_keeps_what_it_held() {
    let options = RedisOptions { appendonly: true, tcp: true, ..RedisOptions::throwaway() };
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
    tokio::net::TcpStream::connect(address).await.expect("it listens on TCP");
}

#[tokio::test]
async fn a_redis_without_one_comes_back_empty_and_its_settings_hold() {
    let mut options = RedisOptions::throwaway();
    options.settings.push(("maxmemory".to_owned(), "10mb".to_owned()));
    let redis = LocalRedis::throwaway(options).await.expect("redis");
    ask(&redis, "SET place 7").await;

    redis.restart().await.expect("restart");

    assert_eq!(ask(&redis, "EXISTS place").await, ":0");
    let memory = ask(&redis, "INFO memory").await;
    assert!(memory.contains("maxmemory:10485760"), "{memory}");
    assert!(memory.contains("maxmemory_policy:noeviction"), "{memory}");
}

#[tokio::test]
async fn killed_stores_that_are_kept_running_come_back_with_what_they_held() {
    let options = StoresOptions { dir: None, reset: false, durability: Durability::Durable };
    let stores = LocalStores::start(options).await.expect("stores");
    let url = stores.postgres.url();
    assert_eq!(ask(&stores.redis, "SET place 7").await, "+OK");
    run(&url, "create table t(n int); insert into t values (7)").await;

    stores.redis.kill().await;
    stores.postgres.kill().await;
    let back = async {
        while stores.redis.say("PING").await.is_err() || PgConnection::connect(&url).await.is_err()
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        back = tokio::time::timeout(Duration::from_mins(1), back) => back.expect("both are back"),
        never = stores.keep_running() => match never {},
    }

    assert_eq!(ask(&stores.redis, "GET place").await, "7");
    assert_eq!(scalar(&url, "select n::text from t").await, "7");
}

#[tokio::test]
async fn a_paused_redis_says_nothing_until_it_goes_on() {
    let redis = LocalRedis::throwaway(RedisOptions::throwaway()).await.expect("redis");
    redis.pause();
    let silent = tokio::time::timeout(Duration::from_millis(200), ask(&redis, "PING")).await;
    assert!(silent.is_err(), "it answered {silent:?}");
    redis.resume();
    assert_eq!(ask(&redis, "PING").await, "+PONG");
    redis.pause();
    redis.stop().await.expect("a paused server can be stopped in order");
}

#[tokio::test]
async fn fred_and_sqlx_understand_the_addresses() {
    use fred::prelude::{ClientLike, Config, KeysInterface};
    let stores = shared().await.expect("stores");
    let config = Config::from_url(&stores.redis.url()).expect("the URL");
    let client = fred::clients::Client::new(config, None, None, None);
    client.init().await.expect("connect");
    client.set::<(), _, _>("local:url", "1", None, None, false).await.expect("set");
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
    postgres.create_database("local_template", None).await.expect("template");
    run(&postgres.url_of("local_template"), "create table t(n int); insert into t values (7)")
        .await;

    let names = ["local_a", "local_b", "local_c"];
    let made = names.map(|name| postgres.create_database(name, Some("local_template")));
    futures::future::try_join_all(made).await.expect("copies, all at once");
    run(&postgres.url_of("local_a"), "update t set n = 8").await;

    assert_eq!(scalar(&postgres.url_of("local_a"), "select n::text from t").await, "8");
    assert_eq!(scalar(&postgres.url_of("local_b"), "select n::text from t").await, "7");
    postgres.drop_database("local_c").await.expect("drop");
    let err = postgres.create_database("local_b", None).await.expect_err("it is there");
    assert!(format!("{err:#}").contains("already exists"), "{err:#}");
    let err = postgres.create_database("a; drop", None).await.expect_err("not a name");
    assert!(err.to_string().contains("plain"), "{err:#}");
}

#[tokio::test]
async fn a_killed_postgres_keeps_what_it_acknowledged_and_takes_its_backends_along() {
    let options = PostgresOptions::throwaway();
    let postgres = LocalPostgres::throwaway(options).await.expect("postgres");
    run(&postgres.url(), "create table t(n int); insert into t values (7)").await;
    let mut open = PgConnection::connect(&postgres.url()).await.expect("connect");
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
async fn a_server_that_does_not_come_up_shows_the_end_of_its_log() {
    let mut options = RedisOptions::throwaway();
    options.settings.push(("maxmemory-policy".to_owned(), "nonsense".to_owned()));
    let err = LocalRedis::throwaway(options).await.err().expect("refused").to_string();
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

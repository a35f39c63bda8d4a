//! What `onsale serve` refuses to start with, shown with the real binary.

use onsale::config::settings::SETTINGS;
use rstest::rstest;

use crate::support::concert;
use crate::support::process::ServerProcess;
use crate::support::server::Deployment;

#[tokio::test(flavor = "multi_thread")]
async fn serve_believes_user_ids_only_if_it_is_told_to() {
    let deployment = Deployment::new(vec![concert(10, 1)]).await.with("auth", "trust");
    let refusal = ServerProcess::refused(&deployment.clone().with("trust_user_ids", "false")).await;
    assert_eq!(refusal.exit_code, Some(2), "{}", refusal.said);
    assert!(refusal.said.contains("ONSALE_AUTH") && refusal.said.contains("--trust-user-ids"));
    assert!(!refusal.said.contains("serving"), "{}", refusal.said);

    let process = ServerProcess::start(&deployment.with("trust_user_ids", "true")).await;
    process.server.get("/healthz").await.expect(200);
}

/// Each fault names its setting; none shows a secret.
#[rstest]
#[case("jwt_secret", "hunter2hunter2", "ONSALE_JWT_SECRET")]
#[case("jwks", "nowhere/hunter.json", "ONSALE_JWKS")]
#[case("admin_token", "hunter2hunter2", "ONSALE_ADMIN_TOKEN")]
#[case("admin_token", "hunter2 hunter2 hunter2", "ONSALE_ADMIN_TOKEN")]
#[case("token_key", "hunter2hunter2", "ONSALE_TOKEN_KEY")]
#[case("redis_url", "http://onsale:hunter2@127.0.0.1", "ONSALE_REDIS_URL")]
#[case("redis_url", "redis://onsale:hunter2@:x:y", "ONSALE_REDIS_URL")]
#[case("database_url", "mysql://onsale:hunter2@127.0.0.1/onsale", "ONSALE_DATABASE_URL")]
#[case("database_url", "postgres://onsale:hunter2@127.0.0.1:port/onsale", "ONSALE_DATABASE_URL")]
#[case("proxy_hops", "9", "ONSALE_PROXY_HOPS")]
#[case("polls_per_address", "-1", "ONSALE_POLLS_PER_ADDRESS")]
#[tokio::test(flavor = "multi_thread")]
async fn a_faulty_setting_is_named_and_a_secret_is_not_shown(
    #[case] name: &'static str,
    #[case] value: &str,
    #[case] told: &str,
) {
    let deployment = Deployment::new(vec![concert(10, 1)]).await.with("auth", "jwt");
    let refusal = ServerProcess::refused(&deployment.with(name, value)).await;
    assert_eq!(refusal.exit_code, Some(2), "{}", refusal.said);
    assert!(refusal.said.contains(told), "{}", refusal.said);
    assert!(!refusal.said.contains("hunter2"), "{}", refusal.said);
}

#[tokio::test(flavor = "multi_thread")]
async fn jwt_without_any_key_is_refused() {
    let deployment = Deployment::new(vec![concert(10, 1)]).await.with("auth", "jwt");
    let refusal = ServerProcess::refused(&deployment).await;
    assert_eq!(refusal.exit_code, Some(2), "{}", refusal.said);
    assert!(refusal.said.contains("ONSALE_JWT_SECRET or ONSALE_JWKS"), "{}", refusal.said);
}

#[test]
fn the_help_shows_no_secret_of_the_environment() {
    let is_secret = |name| SETTINGS.iter().any(|setting| setting.name == name && setting.secret);
    for name in ["redis_url", "database_url", "token_key", "admin_token", "jwt_secret"] {
        assert!(is_secret(name), "{name}");
    }
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_onsale"));
    command.args(["serve", "--help"]).env("ONSALE_LISTEN", "127.0.0.1:4711");
    for setting in SETTINGS.iter().filter(|setting| setting.secret) {
        command.env(setting.variable(), "hunter2");
    }
    let output = command.output().expect("the binary runs");
    let help = String::from_utf8_lossy(&output.stdout);
    assert!(help.contains("ONSALE_JWT_SECRET") && help.contains("127.0.0.1:4711"), "{help}");
    assert!(!help.contains("hunter2"), "{help}");
}

#[test]
fn a_faulty_setting_of_dev_is_told_before_reset_empties_anything() {
    let data = tempfile::tempdir().expect("a folder");
    std::fs::write(data.path().join("token-key"), "as it was").expect("a file");
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_onsale"));
    command.args(["dev", "--reset", "--capacity", "0", "--data"]).arg(data.path());
    let output = command.env_clear().output().expect("the binary runs");
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("ONSALE_CAPACITY = \"0\""), "{said}");
    let kept: Vec<_> = std::fs::read_dir(data.path()).expect("a folder").collect();
    assert_eq!(kept.len(), 1, "{kept:?}");
    assert_eq!(std::fs::read(data.path().join("token-key")).expect("a file"), b"as it was");
}

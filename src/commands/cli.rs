//! The command line, built from the table of settings.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, value_parser};

use super::{dev, queue, verify};
use crate::config::Resolver;
use crate::config::settings::{SETTINGS, Setting};

/// What the command line asks for.
pub struct Invocation {
    /// The subcommand.
    pub command: Command,
    /// All settings, merged.
    pub resolver: Resolver,
}

/// A subcommand with its own arguments.
pub enum Command {
    /// Serve from the configured stores.
    Serve,
    /// Serve from private stores.
    Dev(dev::Stores),
    /// Bring the PostgreSQL schema up to date.
    Migrate,
    /// Examine both stores.
    Check,
    /// Steer a sale.
    Queue(queue::Order),
    /// Check the order of a lottery.
    Verify(verify::Question),
}

/// Settings that `migrate` and `check` take.
const STORES: &[&str] =
    &["redis_url", "database_url", "redis_timeout", "database_connections", "log", "log_format"];

/// Settings that `dev` decides itself.
const NOT_IN_DEV: &[&str] = &["redis_url", "database_url", "trust_user_ids"];

/// Parses `args`, the first of which is the program's name.
///
/// # Errors
///
/// clap's error, which is also how help and version come.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Invocation, clap::Error> {
    let matches = command().try_get_matches_from(args)?;
    let Some((name, matches)) = matches.subcommand() else {
        return Err(
            command().error(clap::error::ErrorKind::MissingSubcommand, "a command is needed")
        );
    };
    if name == "queue" {
        // It has no setting but the token, which belongs into no list of processes.
        let token =
            |name: &str| (name == "admin_token").then(|| std::env::var("ONSALE_ADMIN_TOKEN").ok());
        let file =
            |name: &str| (name == "ONSALE_ADMIN_TOKEN_FILE").then(|| std::env::var(name).ok());
        let resolver = Resolver::new(|name| token(name)?, |name| file(name)?, None);
        return Ok(Invocation { command: Command::Queue(queue::order(matches)), resolver });
    }
    let file = if name == "verify" { None } else { read_file(matches)? };
    let given = |name: &str| matches.try_get_one::<String>(name).ok().flatten().cloned();
    let resolver = Resolver::new(given, |name| std::env::var(name).ok(), file.as_deref());
    let command = match name {
        "dev" => Command::Dev(dev::Stores {
            data: matches.get_one("data").cloned(),
            reset: matches.get_flag("reset"),
            cluster: matches.get_flag("cluster"),
        }),
        "migrate" => Command::Migrate,
        "check" => Command::Check,
        "verify" => Command::Verify(verify::Question {
            source: matches.get_one("source").cloned().unwrap_or_default(),
            token: matches.get_one("token").cloned(),
            place: matches.get_one("place").copied(),
        }),
        _ => Command::Serve,
    };
    Ok(Invocation { command, resolver })
}

fn read_file(matches: &ArgMatches) -> Result<Option<String>, clap::Error> {
    let Some(path) = matches.get_one::<PathBuf>("config") else {
        return Ok(None);
    };
    std::fs::read_to_string(path).map(Some).map_err(|error| {
        let message = format!("the configuration file {} cannot be read: {error}", path.display());
        command().error(clap::error::ErrorKind::Io, message)
    })
}

fn command() -> clap::Command {
    clap::Command::new("onsale")
        .version(env!("CARGO_PKG_VERSION"))
        .about("A queue and reservation server for the minute a ticket sale opens")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(
            clap::Command::new("serve")
                .about("Serve from ONSALE_REDIS_URL and ONSALE_DATABASE_URL; as many servers as you like")
                .args(arguments(|_| true)),
        )
        .subcommand(
            clap::Command::new("dev")
                .about("Serve from a private Redis and PostgreSQL, started and stopped with this process")
                .arg(
                    Arg::new("data")
                        .long("data")
                        .env("ONSALE_DATA")
                        .value_name("DIR")
                        .value_parser(value_parser!(PathBuf))
                        .help("Folder of the private stores; a second start finds the data of the first [default: ./data]"),
                )
                .arg(
                    Arg::new("reset")
                        .long("reset")
                        .action(ArgAction::SetTrue)
                        .help("Empty the folder first"),
                )
                .arg(
                    Arg::new("cluster")
                        .long("cluster")
                        .action(ArgAction::SetTrue)
                        .help("Let Redis be a cluster: three primaries with a replica each"),
                )
                .args(arguments(|setting| !NOT_IN_DEV.contains(&setting.name))),
        )
        .subcommand(
            clap::Command::new("migrate")
                .about("Bring the PostgreSQL schema up to date")
                .args(arguments(|setting| STORES.contains(&setting.name))),
        )
        .subcommand(
            clap::Command::new("check")
                .about("Examine every Redis and PostgreSQL: versions, durability, eviction, replicas, clocks, limits; exit code 1 on a fault")
                .args(arguments(|setting| STORES.contains(&setting.name))),
        )
        .subcommand(queue::command())
        .subcommand(verify_command())
}

fn verify_command() -> clap::Command {
    clap::Command::new("verify")
        .about("Check the order of a lottery from what GET /concert/{id}/fairness answers; exit code 1 if it does not hold")
        .arg(Arg::new("source").required(true).value_name("SOURCE").help("An http:// URL, a file, or - for the standard input"))
        .arg(Arg::new("token").long("token").value_name("TOKEN").conflicts_with("place").help("Whose rank to tell"))
        .arg(
            Arg::new("place")
                .long("place")
                .value_name("NUMBER")
                .value_parser(value_parser!(u64))
                .help("Whose rank to tell, by the number in the line"),
        )
}

fn arguments(wanted: impl Fn(&Setting) -> bool) -> Vec<Arg> {
    let config = Arg::new("config")
        .long("config")
        .env("ONSALE_CONFIG")
        .value_name("FILE")
        .value_parser(value_parser!(PathBuf))
        .help("A TOML file with any of these settings (claim_ttl = \"45s\"); flags and environment win");
    let mut arguments = vec![config];
    arguments.extend(SETTINGS.iter().filter(|setting| wanted(setting)).map(argument));
    arguments
}

/// A setting as a flag. The value stays text here, so that all faults are reported together.
fn argument(setting: &Setting) -> Arg {
    let help = match setting.default {
        Some(default) => format!("{} [default: {default}]", setting.help),
        None => setting.help.to_owned(),
    };
    let argument = Arg::new(setting.name)
        .long(setting.flag())
        .env(setting.variable())
        .hide_env_values(setting.secret)
        .value_name("VALUE")
        .help(help);
    if setting.name == "trust_user_ids" {
        return argument.num_args(0..=1).require_equals(true).default_missing_value("true");
    }
    argument
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn a_wrong_value_is_left_to_the_configuration_so_that_all_faults_come_together() {
        let args = ["onsale", "serve", "--claim-ttl", "soon", "--capacity=-1"];
        let invocation = parse(args.map(OsString::from)).ok().unwrap();
        assert_eq!(invocation.resolver.text("claim_ttl"), Some("soon"));
        assert_eq!(invocation.resolver.text("capacity"), Some("-1"));
    }

    #[test]
    fn an_unknown_flag_or_command_is_refused() {
        for args in [["onsale", "sell"].as_slice(), &["onsale", "serve", "--colour", "red"]] {
            assert!(parse(args.iter().map(OsString::from)).is_err());
        }
    }
}

//! Where the servers' programs are. Distributions keep PostgreSQL's servers out of `PATH`.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

/// Folders with one sub-folder (or link) per PostgreSQL version, and the programs' place below it.
const POSTGRES_VERSIONS: [(&str, &str); 6] = [
    ("/usr/lib/postgresql", "bin"),
    ("/usr", "bin"),
    ("/usr/local", "bin"),
    ("/opt/homebrew/opt", "bin"),
    ("/usr/local/opt", "bin"),
    ("/Applications/Postgres.app/Contents/Versions", "bin"),
];

/// One installed PostgreSQL.
#[derive(Debug, Clone)]
pub(super) struct PostgresPrograms {
    pub(super) initdb: PathBuf,
    pub(super) postgres: PathBuf,
    pub(super) major: u32,
}

/// The `redis-server` program.
pub(super) fn redis_server() -> anyhow::Result<PathBuf> {
    let places = ["/opt/homebrew/bin", "/usr/local/bin", "/usr/bin"].map(PathBuf::from);
    path_folders()
        .into_iter()
        .chain(places)
        .map(|folder| folder.join("redis-server"))
        .find(|program| program.is_file())
        .context(
            "redis-server was not found: `make setup` installs it, or install Redis 7 yourself \
             (Debian: redis-server, Homebrew: redis)",
        )
}

/// The newest installed PostgreSQL, or the one of the given major version.
///
/// A data folder can only be opened by the major version that made it.
pub(super) fn postgres(made_by: Option<u32>) -> anyhow::Result<PostgresPrograms> {
    let mut found: Vec<_> = postgres_folders().iter().filter_map(|dir| postgres_in(dir)).collect();
    found.sort_by_key(|programs| programs.major);
    let Some(newest) = found.last().cloned() else {
        bail!(
            "PostgreSQL was not found: `make setup` installs it, or install it yourself \
             (Debian: postgresql, Homebrew: postgresql@17)"
        );
    };
    let Some(major) = made_by else {
        return Ok(newest);
    };
    found.into_iter().find(|programs| programs.major == major).with_context(|| {
        format!(
            "the data was written by PostgreSQL {major}, but only {} is installed: install \
             PostgreSQL {major}, or start anew with an emptied data folder (--reset)",
            newest.major
        )
    })
}

fn path_folders() -> Vec<PathBuf> {
    env::var_os("PATH").map(|path| env::split_paths(&path).collect()).unwrap_or_default()
}

fn postgres_folders() -> Vec<PathBuf> {
    let mut folders = path_folders();
    for (parent, below) in POSTGRES_VERSIONS {
        let Ok(versions) = fs::read_dir(parent) else {
            continue;
        };
        folders.extend(
            versions
                .flatten()
                .filter(|version| is_postgres_name(&version.file_name()))
                .map(|version| version.path().join(below)),
        );
    }
    folders
}

/// `15`, `pgsql-16`, `postgresql@17`, `latest`.
fn is_postgres_name(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    name.starts_with("pgsql") || name.starts_with("postgresql") || {
        name.chars().all(|c| c.is_ascii_digit() || c == '.')
    }
}

fn postgres_in(folder: &Path) -> Option<PostgresPrograms> {
    // Without links, so that a program reached two ways is one program.
    let initdb = folder.join("initdb").canonicalize().ok()?;
    let postgres = folder.join("postgres").canonicalize().ok()?;
    let output = Command::new(&postgres).arg("--version").stdin(Stdio::null()).output().ok()?;
    let major = major_version(&String::from_utf8_lossy(&output.stdout))?;
    Some(PostgresPrograms { initdb, postgres, major })
}

/// `postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)` → 15.
fn major_version(line: &str) -> Option<u32> {
    let number =
        line.split_whitespace().find(|word| word.starts_with(|c: char| c.is_ascii_digit()));
    number?.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_major_version_is_read_from_every_packagers_line() {
        assert_eq!(major_version("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)"), Some(15));
        assert_eq!(major_version("postgres (PostgreSQL) 17.2 (Homebrew)"), Some(17));
        assert_eq!(major_version("postgres (PostgreSQL) 18beta1"), Some(18));
        assert_eq!(major_version(""), None);
    }

    #[test]
    fn the_installed_servers_are_found_and_a_missing_version_is_named() {
        assert!(redis_server().expect("redis-server").is_file());
        let newest = postgres(None).expect("PostgreSQL");
        assert_eq!(postgres(Some(newest.major)).expect("the same").postgres, newest.postgres);
        let err = postgres(Some(7)).expect_err("nobody has PostgreSQL 7").to_string();
        assert!(err.contains("PostgreSQL 7"), "{err}");
    }
}

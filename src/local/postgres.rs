//! A private PostgreSQL.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use rustix::process::Signal;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};
use tokio::time::{Instant, sleep, timeout};

use super::account::Account;
use super::child::Launch;
use super::folder::DataFolder;
use super::programs::{self, PostgresPrograms};
use super::server::{Endings, Server};

/// The role and the database that every private PostgreSQL has.
const OWNER: &str = "onsale";

/// The file name of the socket; 5432 names no TCP port here, there is none.
const SOCKET: &str = ".s.PGSQL.5432";

/// How long a database may take to be made, with the time for its template to become free.
const CREATE_MAX: Duration = Duration::from_secs(20);

/// What PostgreSQL says when backends of a killed server have not noticed yet; and how long they get.
const ORPHANS_HINT: &str = "pre-existing shared memory block";
const ORPHANS_MAX: Duration = Duration::from_secs(10);

/// How a private PostgreSQL is run.
#[derive(Debug, Clone)]
pub struct PostgresOptions {
    /// Write to the disk before saying so. Without it a crash of PostgreSQL loses nothing, but a
    /// crash of the machine may.
    pub fsync: bool,
    /// Wind up in order when it is dropped, or when this process dies; otherwise it just ends.
    pub orderly: bool,
    /// The most connections at once, 3 of them kept for maintenance.
    pub connections_max: u32,
    /// Further variables of its environment, for example another clock's.
    pub variables: Vec<(String, String)>,
}

impl PostgresOptions {
    /// For data that stays.
    #[must_use]
    pub fn durable() -> Self {
        Self { fsync: true, orderly: true, connections_max: 200, variables: Vec::new() }
    }

    /// For tests: quick, and gone with the machine.
    #[must_use]
    pub fn throwaway() -> Self {
        Self { fsync: false, orderly: false, connections_max: 400, variables: Vec::new() }
    }
}

/// A private PostgreSQL as a child process, with a database `onsale`. Dropping it stops it.
pub struct LocalPostgres {
    // The order matters: the server ends before its folder goes.
    server: Server,
    programs: PostgresPrograms,
    account: Option<Account>,
    part: PathBuf,
    sockets: PathBuf,
    options: PostgresOptions,
    folder: DataFolder,
}

impl LocalPostgres {
    /// Starts PostgreSQL in a data folder and waits until it answers. As root it runs as the
    /// account `postgres`.
    pub async fn start(folder: &DataFolder, options: PostgresOptions) -> anyhow::Result<Self> {
        let account = Account::for_postgres()?;
        let part = folder.part("postgres", account.as_ref())?;
        let programs = programs::postgres(version_of(&part.join("data"))?)?;
        let sockets = folder.socket_folder(&part, SOCKET, account.as_ref())?;
        let abandoned = if options.orderly { Signal::INT } else { Signal::QUIT };
        let endings = Endings { orderly: Signal::INT, abandoned };
        let server = Server::new("postgres", part.join("postgres.log"), endings);
        let postgres =
            Self { server, programs, account, part, sockets, options, folder: folder.clone() };
        postgres.initialise().await?;
        postgres.run().await?;
        postgres.ensure_database(OWNER).await?;
        Ok(postgres)
    }

    /// Starts PostgreSQL in a folder that is removed with it.
    pub async fn throwaway(options: PostgresOptions) -> anyhow::Result<Self> {
        Self::start(&DataFolder::throwaway().await?, options).await
    }

    /// The address of its database `onsale`.
    #[must_use]
    pub fn url(&self) -> String {
        self.url_of(OWNER)
    }

    /// The address of one of its databases, as sqlx and psql read it.
    #[must_use]
    pub fn url_of(&self, database: &str) -> String {
        let sockets = self.sockets.display();
        format!("postgres://{OWNER}@localhost/{database}?host={sockets}&port=5432&sslmode=disable")
    }

    /// The folder of its data, log and (usually) socket.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.part
    }

    /// The data folder that it is a part of.
    #[must_use]
    pub fn folder(&self) -> &DataFolder {
        &self.folder
    }

    /// The process id, while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<i32> {
        self.server.pid().map(|pid| pid.as_raw_nonzero().get())
    }

    /// Makes a database, empty or as a copy of another one of this server. The other one must have
    /// no connections; this waits a while for them to go.
    pub async fn create_database(&self, name: &str, template: Option<&str>) -> anyhow::Result<()> {
        let template = plain_name(template.unwrap_or("template0"))?;
        let create = format!("create database {} template {template}", plain_name(name)?);
        let deadline = Instant::now() + CREATE_MAX;
        loop {
            let Err(err) = self.execute(&create).await else {
                return Ok(());
            };
            // object_in_use: somebody is still connected to the template.
            let busy = err.as_database_error().and_then(sqlx::error::DatabaseError::code);
            if busy.is_none_or(|code| code != "55006") || Instant::now() > deadline {
                return Err(err).with_context(|| format!("cannot create the database {name}"));
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Makes a database under a name of its own and returns its address: one for each test.
    pub async fn fresh_database(&self, template: Option<&str>) -> anyhow::Result<String> {
        let name = format!("fresh_{}", uuid::Uuid::new_v4().simple());
        self.create_database(&name, template).await?;
        Ok(self.url_of(&name))
    }

    /// Removes a database and cuts the connections to it.
    pub async fn drop_database(&self, name: &str) -> anyhow::Result<()> {
        let drop = format!("drop database if exists {} with (force)", plain_name(name)?);
        self.execute(&drop).await.with_context(|| format!("cannot drop the database {name}"))
    }

    /// Stops it in order; open connections are cut.
    ///
    /// # Errors
    ///
    /// When it did not end in time and was killed.
    pub async fn stop(&self) -> anyhow::Result<()> {
        self.server.stop().await
    }

    /// Kills it and all its backends (SIGKILL).
    pub async fn kill(&self) {
        self.server.kill().await;
    }

    /// Starts it again on the same data and address, after stopping it if it still runs.
    pub async fn restart(&self) -> anyhow::Result<()> {
        self.stop().await?;
        self.run().await
    }

    /// Freezes it and its backends (SIGSTOP): connections stay open and nothing is answered.
    pub fn pause(&self) {
        self.server.pause();
    }

    /// Ends [`LocalPostgres::pause`].
    pub fn resume(&self) {
        self.server.resume();
    }

    async fn ensure_database(&self, name: &str) -> anyhow::Result<()> {
        let mut connection = self.connect().await?;
        let there: bool =
            sqlx::query_scalar("select exists (select from pg_database where datname = $1)")
                .bind(name)
                .fetch_one(&mut connection)
                .await?;
        connection.close().await?;
        if there { Ok(()) } else { self.create_database(name, None).await }
    }

    async fn execute(&self, statement: &str) -> sqlx::Result<()> {
        let mut connection = self.connect().await?;
        sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut connection).await?;
        connection.close().await
    }

    /// A connection for maintenance, to the database that nobody works in.
    async fn connect(&self) -> sqlx::Result<PgConnection> {
        let options: PgConnectOptions = self.url_of("postgres").parse()?;
        options.disable_statement_logging().connect().await
    }

    async fn run(&self) -> anyhow::Result<()> {
        let launch = Launch {
            program: &self.programs.postgres,
            args: self.args(),
            variables: &self.options.variables,
            account: self.account.as_ref(),
            work_dir: &self.part,
            log: self.part.join("postgres.log"),
            on_parent_death: if self.options.orderly { Signal::INT } else { Signal::QUIT },
        };
        let ready = async || {
            let connection = timeout(Duration::from_secs(5), self.connect()).await;
            connection.context("no answer")??.close().await?;
            Ok(())
        };
        let deadline = Instant::now() + ORPHANS_MAX;
        loop {
            let Err(err) = self.server.start(&launch, ready).await else {
                return Ok(());
            };
            if !err.to_string().contains(ORPHANS_HINT) || Instant::now() > deadline {
                return Err(err);
            }
            sleep(Duration::from_millis(100)).await;
        }
    }

    fn args(&self) -> Vec<OsString> {
        let mut args: Vec<OsString> = vec!["-D".into(), self.part.join("data").into()];
        let mut set = |name: &str, value: &str| {
            args.extend(["-c".into(), format!("{name}={value}").into()]);
        };
        set("listen_addresses", "");
        set("port", "5432");
        // The socket's folder has a plain ASCII name, or it would be another one.
        set("unix_socket_directories", &self.sockets.to_string_lossy());
        set("unix_socket_permissions", "0700");
        set("max_connections", &self.options.connections_max.to_string());
        set("fsync", if self.options.fsync { "on" } else { "off" });
        set("full_page_writes", if self.options.fsync { "on" } else { "off" });
        // On for tests too: a killed server must keep what it acknowledged.
        set("synchronous_commit", "on");
        set("timezone", "UTC");
        set("log_timezone", "UTC");
        set("log_line_prefix", "%m [%p] ");
        args
    }

    /// Makes the data folder, under another name until it is complete.
    async fn initialise(&self) -> anyhow::Result<()> {
        let (data, unfinished) = (self.part.join("data"), self.part.join("data.unfinished"));
        if data.exists() {
            return Ok(());
        }
        if unfinished.exists() {
            fs::remove_dir_all(&unfinished).context("cannot remove an unfinished data folder")?;
        }
        let mut command = std::process::Command::new(&self.programs.initdb);
        // The C locale sorts by bytes, on every system alike; a Mac has no C.UTF-8.
        let locale = if cfg!(target_os = "macos") { "C" } else { "C.UTF-8" };
        command
            .arg("-D")
            .arg(&unfinished)
            .args(["--username", OWNER, "--auth", "trust", "--encoding", "UTF8"])
            .args(["--locale", locale, "--no-sync"])
            .current_dir(&self.part)
            .stdin(Stdio::null());
        if let Some(account) = &self.account {
            account.apply(&mut command);
        }
        let mut command = tokio::process::Command::from(command);
        let output = command.kill_on_drop(true).output().await.context("cannot run initdb")?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("initdb ended with {}:\n{}", output.status, said.trim());
        }
        if self.options.fsync {
            // What initdb wrote reaches the disk before the name that says it is complete.
            rustix::fs::sync();
        }
        fs::rename(&unfinished, &data).context("cannot rename the new data folder")
    }
}

/// The major version that made a data folder, if there is one.
fn version_of(data: &Path) -> anyhow::Result<Option<u32>> {
    match fs::read_to_string(data.join("PG_VERSION")) {
        Ok(version) => {
            let major = version.trim().parse();
            Ok(Some(major.with_context(|| format!("{} has no version", data.display()))?))
        }
        Err(err) if err.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(err) => Err(err).with_context(|| format!("cannot read {}", data.display())),
    }
}

/// Checks a name that goes into a statement unquoted.
fn plain_name(name: &str) -> anyhow::Result<&str> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    ensure!(
        (1..=63).contains(&name.len())
            && name.bytes().all(plain)
            && !name.as_bytes()[0].is_ascii_digit(),
        "{name:?} is not a plain database name: a-z, 0-9 and _ only, 63 at most"
    );
    Ok(name)
}

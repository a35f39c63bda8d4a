//! What is measured: private stores as `onsale dev` runs them (durable), one release server, and the
//! readings of their cost.

use std::io::{BufRead, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use onsale::local::{Durability, LocalStores, StoresOptions};
use onsale::queue::TokenKeys;
use tokio::runtime::Runtime;

use super::bare::Fixed;

/// The stores and one server on them.
pub struct Rig {
    // The order matters: the server ends before its stores, and these before what drives them.
    process: Process,
    /// The private stores.
    pub stores: LocalStores,
    /// For what is asynchronous beside the measurements.
    pub runtime: Runtime,
    /// The server's address.
    pub server: SocketAddr,
    options: ServerOptions,
}

/// How servers of this rig are started.
struct ServerOptions {
    program: PathBuf,
    catalogue: PathBuf,
    token_key: String,
    redis_url: String,
    database_url: String,
}

impl Rig {
    /// Starts everything; `catalogue` is the text of `concerts.toml`.
    pub fn start(program: PathBuf, catalogue: &str) -> anyhow::Result<Self> {
        let runtime = Runtime::new()?;
        let stores = runtime.block_on(durable_stores())?;
        let path = stores.folder().path().join("bench-concerts.toml");
        std::fs::write(&path, catalogue)?;
        let options = ServerOptions {
            program,
            catalogue: path,
            token_key: TokenKeys::generate(),
            redis_url: stores.redis.url(),
            database_url: stores.postgres.url(),
        };
        let (process, server) = options.start("127.0.0.1:0", &[])?;
        Ok(Self { process, stores, runtime, server, options })
    }

    /// Ends the server and stops the stores in order.
    pub fn stop(self) -> anyhow::Result<()> {
        drop(self.process);
        self.runtime.block_on(self.stores.stop())
    }

    /// One more server on the same stores, with further settings.
    pub fn another_server(
        &self,
        settings: &[(&str, &str)],
    ) -> anyhow::Result<(Process, SocketAddr)> {
        self.options.start("127.0.0.1:0", settings)
    }

    /// A server that shares its port with those started by this function with that address; none
    /// is the first.
    pub fn server_of_several(
        &self,
        others: Option<SocketAddr>,
    ) -> anyhow::Result<(Process, SocketAddr)> {
        let listen = others.map_or_else(|| "127.0.0.1:0".to_owned(), |address| address.to_string());
        self.options.start(&listen, &[("ONSALE_REUSE_PORT", "true")])
    }

    /// CPU time of the server so far.
    pub fn server_cpu(&self) -> anyhow::Result<Duration> {
        self.process.cpu()
    }

    /// Memory of the server in bytes.
    pub fn server_memory(&self) -> anyhow::Result<u64> {
        self.process.memory()
    }

    /// Says one command to Redis: every value of the answer, one a line.
    pub fn redis(&self, words: &[&str]) -> anyhow::Result<String> {
        Ok(self.runtime.block_on(self.stores.redis.ask(words))?.join("\n"))
    }

    /// One number of a Redis answer; an absent one is 0.
    pub fn redis_number(&self, words: &[&str]) -> anyhow::Result<u64> {
        let text = self.redis(words)?;
        if text.is_empty() { Ok(0) } else { Ok(text.parse()?) }
    }

    /// CPU time of Redis so far, all of its threads.
    pub fn redis_cpu(&self) -> anyhow::Result<Duration> {
        let info = self.redis(&["info", "cpu"])?;
        let seconds = field(&info, "used_cpu_user:")? + field(&info, "used_cpu_sys:")?;
        Ok(Duration::from_secs_f64(seconds))
    }

    /// Bytes of the data in Redis: without what clients, scripts and the file's buffer take.
    pub fn redis_memory(&self) -> anyhow::Result<f64> {
        field(&self.redis(&["info", "memory"])?, "used_memory_dataset:")
    }

    /// Redis commands that clients and scripts have executed so far, without those of this bench
    /// (`info`).
    pub fn redis_commands(&self) -> anyhow::Result<u64> {
        let info = self.redis(&["info", "commandstats"])?;
        let calls = |line: &str| {
            let (name, rest) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
            let count = rest.split(',').next()?.parse::<u64>().ok()?;
            (name != "info").then_some(count)
        };
        Ok(info.lines().filter_map(calls).sum())
    }

    /// How long Redis' main thread was ready and had no core, so far.
    pub fn redis_without_a_core(&self) -> anyhow::Result<Duration> {
        let id = field(&self.redis(&["info", "server"])?, "process_id:")?;
        Ok(schedule(&format!("/proc/{id}/task/{id}/schedstat"))?.1)
    }
}

async fn durable_stores() -> anyhow::Result<LocalStores> {
    let durability = Durability::Durable;
    let stores = LocalStores::start(StoresOptions { dir: None, reset: false, durability }).await?;
    // When the file is written anew is chance, and takes a core for some seconds.
    stores.redis.say("config set auto-aof-rewrite-percentage 0").await?;
    let database = sqlx::PgPool::connect(&stores.postgres.url()).await?;
    onsale::postgres::migrate(&database).await?;
    database.close().await;
    Ok(stores)
}

/// CPU time of this thread so far.
pub fn thread_cpu() -> anyhow::Result<Duration> {
    Ok(schedule("/proc/thread-self/schedstat")?.0)
}

/// How long a thread ran, and how long it was ready to run and did not.
fn schedule(path: &str) -> anyhow::Result<(Duration, Duration)> {
    let text = std::fs::read_to_string(path)?;
    let mut nanos = text.split_whitespace().map(|word| word.parse().map(Duration::from_nanos));
    let two = nanos.next().zip(nanos.next());
    let (ran, waited) = two.with_context(|| format!("not understood: {path}"))?;
    Ok((ran?, waited?))
}

impl ServerOptions {
    fn start(
        &self,
        listen: &str,
        settings: &[(&str, &str)],
    ) -> anyhow::Result<(Process, SocketAddr)> {
        let mut command = Command::new(&self.program);
        command
            .args([
                "serve",
                "--listen",
                listen,
                "--log",
                "info,sqlx=warn,tokio_cron_scheduler=warn",
            ])
            .env("ONSALE_REDIS_URL", &self.redis_url)
            .env("ONSALE_DATABASE_URL", &self.database_url)
            .env("ONSALE_TOKEN_KEY", &self.token_key)
            .env("ONSALE_TRUST_USER_IDS", "true")
            .env("ONSALE_CONCERTS", &self.catalogue)
            .env("ONSALE_ARRIVALS_PER_ADDRESS", "0")
            .env("ONSALE_POLLS_PER_ADDRESS", "0")
            .env("ONSALE_CLAIM_TTL", "10m")
            .env("ONSALE_ACTIVE_TTL", "2h")
            .env("ONSALE_SESSION_MAX", "6h")
            .env("ONSALE_HOLD_TTL", "1h");
        for (name, value) in settings {
            command.env(name, value);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().context("the server does not start")?;
        let log = child.stderr.take().context("no log")?;
        let mut lines = BufReader::new(log).lines();
        let process = Process(child);
        let address = loop {
            let line = lines.next().context("the server ended at its start")??;
            // A terminal would colour it; a pipe does not.
            if let Some((_, rest)) = line.split_once("address=") {
                break rest.trim().parse()?;
            }
        };
        // What else it says belongs to whoever reads this bench's output.
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok).filter(|line| !line.contains(" INFO ")) {
                eprintln!("server: {line}");
            }
        });
        wait_until("the server is ready", || ready(address))?;
        Ok((process, address))
    }
}

/// A child that ends with this value.
pub struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Process {
    /// This program as the HTTP limit, answering `fixed`.
    pub fn bare(fixed: &Fixed) -> anyhow::Result<(Self, SocketAddr)> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg("bare")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut input = child.stdin.take().context("no input")?;
        input.write_all(serde_json::to_string(fixed)?.as_bytes())?;
        drop(input);
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("no output")?).read_line(&mut line)?;
        Ok((Self(child), line.trim().parse()?))
    }

    /// CPU time so far.
    pub fn cpu(&self) -> anyhow::Result<Duration> {
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.0.id()))?;
        // A thread that ended since the listing has no file any more.
        let ran = threads.flatten().filter_map(|thread| {
            let file = thread.path().join("schedstat");
            schedule(&file.display().to_string()).ok()
        });
        Ok(ran.map(|(ran, _)| ran).sum())
    }

    /// Resident memory in bytes.
    pub fn memory(&self) -> anyhow::Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.context("no VmRSS")?.trim().trim_end_matches(" kB");
        Ok(kib.parse::<u64>()? * 1024)
    }
}

fn ready(address: SocketAddr) -> anyhow::Result<bool> {
    use std::io::Read;
    let mut stream = std::net::TcpStream::connect(address)?;
    stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer.starts_with("HTTP/1.1 200"))
}

/// Waits until `holds`, for at most two minutes.
pub fn wait_until(
    what: &str,
    mut holds: impl FnMut() -> anyhow::Result<bool>,
) -> anyhow::Result<()> {
    let deadline = Instant::now() + Duration::from_mins(2);
    while !holds()? {
        if Instant::now() > deadline {
            bail!("not within two minutes: {what}");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// The number behind `name` in an answer of lines `name:number`.
fn field(info: &str, name: &str) -> anyhow::Result<f64> {
    let line = info.lines().find_map(|line| line.strip_prefix(name));
    Ok(line.with_context(|| format!("no {name} in INFO"))?.trim().parse()?)
}

/// Where a program is: in `PATH`, or where distributions hide PostgreSQL's.
pub fn program(name: &str) -> anyhow::Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let in_path = std::env::split_paths(&path);
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    in_path
        .chain(versions.map(|version| version.path().join("bin")))
        .map(|folder| folder.join(name))
        .find(|program| program.is_file())
        .with_context(|| format!("{name} was not found: `make setup` installs it"))
}

/// The version line of a program.
pub fn version(name: &str) -> anyhow::Result<String> {
    let output = Command::new(program(name)?).arg("--version").output()?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The folder of the project, whatever the current folder is.
pub fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

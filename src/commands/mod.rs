//! The subcommands of the binary.
//!
//! [`cli`] is the command line, one file per subcommand does the work: [`serve`], [`dev`],
//! [`migrate`], [`check`], [`queue`], [`verify`]. [`signals`] turns the operating system's wishes into tokens.

use std::process::ExitCode;

pub mod check;
pub mod cli;
pub mod dev;
pub mod migrate;
pub mod queue;
pub mod serve;
pub mod signals;
pub mod verify;

/// Parses the command line, runs the subcommand, and gives the process' exit code.
///
/// 0: done. 1: failed. 2: the command line or the configuration is wrong; nothing was started. 3: a
/// server refused what an operator wanted; nothing was changed.
pub async fn run() -> ExitCode {
    let invocation = match cli::parse(std::env::args_os()) {
        Ok(invocation) => invocation,
        Err(error) => {
            // clap prints help and version as "errors" too, and knows which stream and code fit.
            let code = if error.use_stderr() { ExitCode::from(2) } else { ExitCode::SUCCESS };
            let _ = error.print();
            return code;
        }
    };
    // One TLS provider for all libraries; a second call (in tests) finds it set.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let outcome = match invocation.command {
        cli::Command::Serve => serve::command(invocation.resolver).await,
        cli::Command::Dev(stores) => dev::command(invocation.resolver, stores).await,
        cli::Command::Migrate => migrate::command(invocation.resolver).await,
        cli::Command::Check => check::command(invocation.resolver).await,
        cli::Command::Queue(order) => queue::command_line(order, invocation.resolver).await,
        cli::Command::Verify(question) => verify::command(question).await,
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Configuration(faults)) => {
            eprintln!("onsale: the configuration has {} fault(s):", faults.len());
            for fault in faults {
                eprintln!("  {fault}");
            }
            ExitCode::from(2)
        }
        Err(Failure::Usage(why)) => {
            eprintln!("onsale: {why}");
            ExitCode::from(2)
        }
        Err(Failure::Refused(why)) => {
            eprintln!("onsale: {why}");
            ExitCode::from(3)
        }
        Err(Failure::Other(error)) => {
            eprintln!("onsale: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Why a subcommand did not do its work.
pub enum Failure {
    /// The configuration has these faults.
    Configuration(Vec<crate::config::Fault>),
    /// The command line does not say what is meant, in these words.
    Usage(String),
    /// A server refused it, in these words.
    Refused(String),
    /// Anything else.
    Other(anyhow::Error),
}

impl From<Vec<crate::config::Fault>> for Failure {
    fn from(faults: Vec<crate::config::Fault>) -> Self {
        Self::Configuration(faults)
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Other(error)
    }
}

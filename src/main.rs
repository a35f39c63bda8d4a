//! The command line of Onsale; everything it can do is in [`onsale::commands`].

use std::process::ExitCode;

/// Half the cost of the system's allocator for the many small and short lives of requests.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("onsale: the runtime cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    runtime.block_on(onsale::commands::run())
}

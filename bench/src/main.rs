//! `offhook-bench` holds offhook side by side with what people use otherwise, and with what the
//! machine can do at all.
//!
//! ```sh
//! cargo run --release -p offhook-bench -- setup     # once: what the others need
//! cargo run --release -p offhook-bench -- --list    # who can run here
//! cargo run --release -p offhook-bench -- all       # everything, written to docs/benchmarks
//! cargo run --release -p offhook-bench -- receive --only none,bare,sqlite,file --rounds 9
//! cargo run --release -p offhook-bench -- watched --rounds 10 --seconds 6
//! cargo run --release -p offhook-bench -- isolated --failing 1000000
//! cargo run --release -p offhook-bench -- pages --kept 10000000 --drop-caches
//! ```
//!
//! From top to bottom: [`cli`] makes a [`lab`] and a plan; an experiment in [`runs`] starts
//! [`targets`], each on one core with all its processes ([`process`], [`procfs`]), and sends from
//! another core ([`load`]); some targets are this program itself ([`servers`]). What comes out
//! ([`results`]) is kept as JSON with where it comes from ([`machine`]), and [`report`] draws it.

mod cli;
mod lab;
mod load;
mod machine;
mod process;
mod procfs;
mod report;
mod results;
mod runs;
mod servers;
mod setup;
mod targets;

use std::process::ExitCode;

/// The allocator of the `offhook` command, for all the servers that are this program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match cli::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("offhook-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

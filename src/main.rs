//! The `offhook` command. All of it is in [`cli`].

mod cli;

use std::process::ExitCode;

/// For each event, one thread frees about a hundred blocks of memory that another thread has allocated.
/// With the system's allocator, the way of an event from the socket to the handler takes a tenth longer.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::main()
}

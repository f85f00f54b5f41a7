//! The `offhook` command. All of it is in [`cli`].

mod cli;

use std::process::ExitCode;

/// What one thread allocates another frees, a hundred times an event: the system's allocator takes a
/// tenth longer for the whole way from the socket to the handler.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::main()
}

//! Sets up the program's log: `env_logger`, whose lines a thread of their own writes to standard error.
//!
//! A caller that logs never waits for standard error. `lines.rs` has the queue.

use std::io::{self, Write};
use std::panic::PanicHookInfo;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use std::{panic, thread};

use anstream::AutoStream;
use env_logger::Target;
use log::{Level, LevelFilter};

use super::Throttle;
use super::lines::LineQueue;
use crate::clock::{Clock as _, SystemClock};
use crate::escape_controls;

/// Logs to standard error, unless a logger is already set. `RUST_LOG` sets the level. Default: `info`.
///
/// A thread writes the lines, so that a pipe or a terminal that is not read holds up nothing else. Up to
/// 512 KiB of lines wait for it; further ones are dropped and counted (`offhook_log_lines_dropped_total`),
/// and a line says how many. Call [`flush`] before the program ends.
///
/// At the default level no line holds a secret or a body. A line about one event names its id.
///
/// ```
/// offhook::logging::init();
/// log::info!("ready");
/// offhook::logging::flush();
/// ```
pub fn init() {
    let filter = env_logger::Env::default().default_filter_or(DEFAULT);
    let mut builder = env_logger::Builder::new();
    builder.target(Target::Pipe(Box::new(Stderr)));
    builder.write_style(AutoStream::choice(&io::stderr()).into());
    for (module, level) in QUIET {
        builder.filter_module(module, level);
    }
    builder.parse_env(filter);
    builder.format(|out, record| {
        let style = out.default_level_style(record.level());
        let level = record.level();
        writeln!(
            out,
            "{} {style}{level:<5}{style:#} {}",
            now(),
            record.args()
        )
    });
    // Otherwise a logger is already set, and stays.
    if builder.try_init().is_ok() {
        start();
    }
}

/// Prints each panic in one line behind the lines of the log. The default panic hook would wait for standard
/// error. Of the panics of handlers, which may be many, at most one is printed per second.
///
/// This replaces the program's panic hook, so [`Offhook::run`](crate::Offhook::run) leaves it to the program.
/// `offhook serve` does it.
///
/// ```
/// offhook::logging::init();
/// offhook::logging::log_panics();
/// ```
pub fn log_panics() {
    panic::set_hook(Box::new(|panic| {
        let thread = thread::current();
        let name = thread.name().unwrap_or("<unnamed>");
        let runs_handlers = name == "offhook-dispatch" || name.starts_with("actix-");
        if !runs_handlers {
            print_panic(name, panic, "");
        } else if let Some(unsaid) = HANDLER_PANICS.pass() {
            print_panic(name, panic, &Throttle::more(unsaid));
        }
        if name == "main" {
            flush();
        }
    }));
}

// As a panic in here would abort the process, it does little: not even the time is asked for.
fn print_panic(thread: &str, panic: &PanicHookInfo<'_>, more: &str) {
    let payload = panic.payload();
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    let text = escape_controls(text.unwrap_or("a value that is no text"));
    let place = panic.location().map(ToString::to_string);
    let place = place.as_deref().unwrap_or("an unknown place");
    // Empty unless RUST_BACKTRACE asks for it.
    let trace = std::backtrace::Backtrace::capture();
    let trace = match trace.status() {
        std::backtrace::BacktraceStatus::Captured => format!("\n{trace}"),
        _ => String::new(),
    };
    print(&format!(
        "thread '{thread}' panicked at {place}: {text}{more}{trace}"
    ));
}

/// Prints `text` and a line break to standard error, behind the lines of the log, and without colours if it
/// is not a terminal.
///
/// ```
/// offhook::logging::print("listening");
/// ```
pub fn print(text: &str) {
    let mut line = AutoStream::new(Vec::new(), AutoStream::choice(&io::stderr()));
    // Writing to memory cannot fail.
    let _ = writeln!(line, "{text}");
    let _ = Stderr.write_all(&line.into_inner());
}

/// Waits until the lines so far are written, for at most one second.
///
/// ```
/// offhook::logging::flush();
/// ```
pub fn flush() {
    if HAS_THREAD.load(Ordering::Acquire) {
        QUEUE.flush(FLUSH_LIMIT);
    }
}

/// How many lines were dropped since the program started.
pub(super) fn dropped() -> u64 {
    QUEUE.dropped()
}

/// Starts the thread that writes. Without it lines are written directly.
fn start() {
    let write = || {
        let note = |lines| {
            let level = Level::Warn;
            format!("{} {level:<5} {lines} {DROPPED}\n", now())
        };
        QUEUE.write_to(&mut io::stderr(), note)
    };
    let thread = thread::Builder::new().name("offhook-log".to_owned());
    let started = thread.spawn(write);
    HAS_THREAD.store(started.is_ok(), Ordering::Release);
}

fn now() -> impl std::fmt::Display {
    SystemClock.now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Standard error, behind the queue. Each write must hold whole lines.
struct Stderr;

impl Write for Stderr {
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        if !HAS_THREAD.load(Ordering::Acquire) {
            return io::stderr().write(lines);
        }
        QUEUE.push(lines);
        Ok(lines.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

static QUEUE: LineQueue = LineQueue::new();

/// Whether the thread that writes has been started.
static HAS_THREAD: AtomicBool = AtomicBool::new(false);

static HANDLER_PANICS: Throttle = Throttle::new();

const FLUSH_LIMIT: Duration = Duration::from_secs(1);

const DROPPED: &str =
    "lines of the log were dropped here, because standard error did not take them";

const DEFAULT: &str = "info";

/// Messages of actix about malformed requests are caused by clients, would fill the log, and may hold a path; those
/// about a subscriber's certificate are shown by its attempts. RUST_LOG has to name them.
const QUIET: [(&str, LevelFilter); 3] = [
    ("actix_http", LevelFilter::Off),
    ("actix_server", LevelFilter::Warn),
    ("rustls_platform_verifier", LevelFilter::Off),
];

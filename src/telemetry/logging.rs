//! Sets up the program's log: `env_logger`, whose lines a thread of their own writes to standard error.
//!
//! A caller that logs never waits for standard error. `lines.rs` has the queue.

use std::io::{self, Write};
use std::panic::PanicHookInfo;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use std::{panic, thread};

use anstream::AutoStream;
use arc_swap::ArcSwapOption;
use env_logger::{Target, WriteStyle};
use log::{Level, LevelFilter, Log, Metadata, Record};

use super::Throttle;
use super::lines::LineQueue;
use super::log_line::{Form, is_journald, json, now};
use super::log_settings::LogSettings;
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
    init_with(&LogSettings::default());
}

/// As [`init`], in the form and at the level of the settings; `RUST_LOG` wins over the level.
///
/// Where standard error is systemd's journal (`JOURNAL_STREAM`), a line begins with its priority, such as `<4>`,
/// and a line of text has no time.
///
/// ```
/// use offhook::settings::{LogFormat, LogSettings};
///
/// let mut log = LogSettings::default();
/// log.format = LogFormat::Json;
/// offhook::logging::init_with(&log);
/// ```
pub fn init_with(settings: &LogSettings) {
    if log::set_logger(&Current).is_ok() {
        IS_OURS.store(true, Ordering::Release);
        start();
    }
    configure(settings);
}

/// Goes by other settings. Does nothing if the program has a logger of its own.
pub(crate) fn configure(settings: &LogSettings) {
    if !IS_OURS.load(Ordering::Acquire) {
        return;
    }
    let form = Form::of(settings.format, is_journald());
    form.set();
    let mut builder = env_logger::Builder::new();
    builder.target(Target::Pipe(Box::new(Stderr)));
    builder.write_style(match form {
        Form::Text => AutoStream::choice(&io::stderr()).into(),
        _ => WriteStyle::Never,
    });
    for (module, level) in QUIET {
        builder.filter_module(module, level);
    }
    let said = std::env::var("RUST_LOG").ok();
    builder.parse_filters(said.as_deref().unwrap_or(settings.level.as_str()));
    builder.format(move |out, record| {
        let (level, prefix) = (record.level(), form.prefix(record.level()));
        match form {
            Form::Text => {
                let style = out.default_level_style(level);
                writeln!(
                    out,
                    "{} {style}{level:<5}{style:#} {}",
                    now(),
                    record.args()
                )
            }
            Form::Journald => writeln!(out, "{prefix}{}", record.args()),
            Form::Json | Form::JournaldJson => writeln!(out, "{prefix}{}", json(record)),
        }
    });
    let logger = builder.build();
    let most = logger.filter();
    LOGGER.store(Some(logger.into()));
    log::set_max_level(most);
}

/// The logger of the settings that are in force.
struct Current;

impl Log for Current {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        LOGGER
            .load()
            .as_ref()
            .is_some_and(|logger| logger.enabled(metadata))
    }

    fn log(&self, record: &Record<'_>) {
        if let Some(logger) = &*LOGGER.load() {
            logger.log(record);
        }
    }

    fn flush(&self) {
        flush();
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
    let text = format!("thread '{thread}' panicked at {place}: {text}{more}{trace}");
    print_error(&text);
}

/// Prints `text` and a line break to standard error, behind the lines of the log, and without colours if it
/// is not a terminal. If the log is JSON, it is the `message` of an object.
///
/// ```
/// offhook::logging::print("listening");
/// ```
pub fn print(text: &str) {
    print_at(Level::Info, text);
}

/// As [`print()`], for what is wrong: the `level` of an object is `ERROR`.
///
/// ```
/// offhook::logging::print_error("cannot listen");
/// ```
pub fn print_error(text: &str) {
    print_at(Level::Error, text);
}

fn print_at(level: Level, text: &str) {
    let form = Form::current();
    if form.is_json() {
        let text = anstream::adapter::strip_str(text).to_string();
        // Writing to the queue cannot fail, and nothing can be done if standard error is closed.
        let _ = Stderr.write_all(format!("{}\n", form.line(level, &text)).as_bytes());
        return;
    }
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
        let note = |lines: u64| {
            let text = format!("{lines} {DROPPED}");
            format!("{}\n", Form::current().line(Level::Warn, &text))
        };
        QUEUE.write_to(&mut io::stderr(), note)
    };
    let thread = thread::Builder::new().name("offhook-log".to_owned());
    let started = thread.spawn(write);
    HAS_THREAD.store(started.is_ok(), Ordering::Release);
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

static LOGGER: ArcSwapOption<env_logger::Logger> = ArcSwapOption::const_empty();

/// Whether the program logs with this.
static IS_OURS: AtomicBool = AtomicBool::new(false);

static QUEUE: LineQueue = LineQueue::new();

/// Whether the thread that writes has been started.
static HAS_THREAD: AtomicBool = AtomicBool::new(false);

static HANDLER_PANICS: Throttle = Throttle::new();

const FLUSH_LIMIT: Duration = Duration::from_secs(1);

const DROPPED: &str =
    "lines of the log were dropped here, because standard error did not take them";

/// Messages of actix about malformed requests are caused by clients, would fill the log, and may hold a path; those
/// about a subscriber's certificate are shown by its attempts. RUST_LOG has to name them.
const QUIET: [(&str, LevelFilter); 3] = [
    ("actix_http", LevelFilter::Off),
    ("actix_server", LevelFilter::Warn),
    ("rustls_platform_verifier", LevelFilter::Off),
];

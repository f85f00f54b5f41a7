//! `offhook serve`: runs the server until it is stopped. After the start it prints where it listens, and
//! what to try next.

mod second_signal;

use std::fmt::Write as _;
use std::net::SocketAddr;

use clap::Args;
use futures_util::future::join;
use offhook::relay::{RelayState, RelayedTo};
use offhook::settings::{LogFormat, Settings};
use offhook::{Error, Offhook, Source, escape_controls};

use super::check::{has_documented_key, without_consumer};
use super::output::{Failure, Outcome, Verdict, title};
use super::settings_file::{SettingsFile, reachable, scheme};
use super::{invocation, output, quoted};

/// Receive webhooks as a settings file says (the default)
///
/// Serves until SIGINT (Ctrl-C) or SIGTERM, then finishes running work and exits. A second one ends it
/// immediately; nothing that was acknowledged is lost. RUST_LOG sets how much is logged to standard error:
/// error, warn, info (the default), debug.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Serve {
    #[command(flatten)]
    pub(super) file: SettingsFile,
}

impl Serve {
    pub(super) fn run(self) -> Outcome {
        let system = actix_rt::System::new();
        let outcome = system.block_on(self.serve());
        leave(system);
        outcome
    }

    async fn serve(self) -> Outcome {
        let settings = self.file.load("nothing was started")?;
        offhook::logging::init_with(&settings.log);
        offhook::logging::log_panics();
        let offhook = Offhook::new(settings.clone()).reload_from(self.file.path());
        let server = offhook.start().await;
        let server = server.map_err(Failure::failed)?;
        let (public, admin) = (server.public_address(), server.admin_address());
        let program = Invoked {
            name: invocation(),
            file: &self.file,
            overrides_bind: std::env::var_os("OFFHOOK__SERVER__BIND").is_some(),
        };
        let relayed = server.subscriptions();
        let welcome = welcome(&settings, public, admin, &relayed, &program);
        // Polled after the server, which listens to signals then: before the address is printed, because a
        // reader of it may stop the server immediately.
        let begun = async {
            second_signal::watch();
            match settings.log.format {
                LogFormat::Json => log_lines(&welcome),
                _ => output::note(&welcome),
            }
        };
        let (stopped, ()) = join(server.run_until_stopped(), begun).await;
        stopped.map_err(failure)?;
        Ok(Verdict::Yes)
    }
}

/// Leaves the runtime as it is: everything has stopped, and the process ends. Dropping it would wait for a thread
/// that reads a file, where a file system hangs.
fn leave(system: actix_rt::SystemRunner) {
    // A worker's thread may end after the main thread. If it dropped the last handle, it would wake a task of this
    // runtime while its thread-locals are destroyed, which panics there and aborts the process.
    std::mem::forget(actix_rt::System::try_current());
    std::mem::forget(system);
}

/// Why the server has not ended in order. A supervisor should start it again after exit status 70.
fn failure(error: Error) -> Failure {
    match error {
        Error::JournalBroken => Failure::with_status(EX_SOFTWARE, error),
        Error::Interrupted { number, .. } => Failure::with_status(by_signal(number), error),
        _ => Failure::failed(error),
    }
}

/// The exit status of a program that a signal has ended, as shells show it.
fn by_signal(number: i32) -> u8 {
    u8::try_from(128 + number).unwrap_or(1)
}

/// The exit status after a fault of the program, as in sysexits.h.
const EX_SOFTWARE: u8 = 70;

/// How the user has started this program, to tell what to start next.
struct Invoked<'a> {
    name: String,
    file: &'a SettingsFile,
    /// Whether the environment says where to listen.
    overrides_bind: bool,
}

/// Where a started server listens, and what to try next.
fn welcome(
    settings: &Settings,
    public: SocketAddr,
    admin: Option<SocketAddr>,
    relayed: &[RelayedTo],
    program: &Invoked<'_>,
) -> String {
    let version = concat!("offhook ", env!("CARGO_PKG_VERSION"), " is listening");
    let mut text = title(version);
    let url = |source: &Source| {
        format!(
            "{}://{}{}",
            scheme(settings.server.tls.as_ref()),
            reachable(public),
            source.patterns()[0]
        )
    };
    for source in &settings.sources {
        let how = match source.path_token {
            None => source.scheme.name(),
            Some(_) => "unsigned, the path holds a token",
        };
        let (url, name) = (url(source), &source.name);
        let _ = write!(text, "\n  webhooks  {url}  from {name} ({how})");
    }
    if let Some(admin) = admin.map(reachable) {
        let _ = write!(
            text,
            "\n  admin     {}://{admin}{DASHBOARD}/health, /ready, /metrics",
            scheme(settings.admin.as_ref().and_then(|admin| admin.tls.as_ref()))
        );
    }
    let _ = write!(text, "\n  engine    {}", settings.journal.promise());
    text += &relays(relayed);
    if let Some(what) = without_consumer(settings).filter(|_| relayed.is_empty()) {
        let _ = write!(text, "\n  handlers  {what}");
    }
    if let Some(source) = settings.sources.first() {
        let heading = title("Try it from another terminal:");
        // Another terminal has the file, but neither this environment nor the port that the system chose.
        let is_in_file = settings.server.bind.port() == public.port() && !program.overrides_bind;
        let send = program.send((!is_in_file).then(|| url(source)));
        let try_it = try_it(source, &url(source), &send);
        let _ = write!(text, "\n\n{heading}\n{try_it}\n");
    }
    text
}

/// Logs where the server listens, one line each, without what to try next.
fn log_lines(welcome: &str) {
    let welcome = anstream::adapter::strip_str(welcome).to_string();
    for line in welcome.lines().take_while(|line| !line.is_empty()) {
        let words: Vec<&str> = line.split_whitespace().collect();
        log::info!("{}", words.join(" "));
    }
}

/// Where events are relayed to, one subscription a line.
fn relays(relayed: &[RelayedTo]) -> String {
    let mut text = String::new();
    for one in relayed.iter().take(MOST_SHOWN) {
        let RelayedTo {
            name, session, url, ..
        } = one;
        let sessions = match session.as_str() {
            "*" => "all sessions".to_owned(),
            one => format!("session {}", escape_controls(one)),
        };
        let by = if one.is_defined { "settings" } else { "API" };
        let state = match one.state {
            RelayState::Active => "",
            RelayState::Rejected => "; its address is refused, so nothing is sent (see the log)",
            _ => "; inactive, so nothing is sent",
        };
        let _ = write!(
            text,
            "\n  relay     {url}  to {name}, {sessions} ({by}){state}"
        );
    }
    if let Some(more) = relayed
        .len()
        .checked_sub(MOST_SHOWN)
        .filter(|more| *more > 0)
    {
        let _ = write!(
            text,
            "\n  relay     and {more} more, see `offhook subscriptions`"
        );
    }
    text
}

impl Invoked<'_> {
    /// The command that sends a test event.
    fn send(&self, url: Option<String>) -> String {
        let mut command = format!("{} send", self.name);
        if self.file.is_named() {
            let file = quoted(&self.file.path().to_string_lossy());
            let _ = write!(command, " --settings {file}");
        }
        if let Some(url) = url {
            let _ = write!(command, " {url}");
        }
        command
    }
}

fn try_it(source: &Source, url: &str, send: &str) -> String {
    let signed = source.path_token.is_none();
    if signed && source.scheme.name() == "x-webhook-signature" && has_documented_key(source) {
        return format!(
            "  {send}\nor\n  curl {url} -H 'Content-Type: application/json' \\\n    \
             -H 'X-Webhook-Signature: {KNOWN_SIGNATURE}' \\\n    -d '{KNOWN_BODY}'"
        );
    }
    format!("  {send}")
}

/// How many subscriptions are shown.
const MOST_SHOWN: usize = 20;

/// The message in the gateway's documentation.
const KNOWN_BODY: &str = concat!(
    r#"{"event":"message","sessionId":"408f7372-f7c9-4299-a8db-326bc5548a73","#,
    r#""messageId":"3EB0C767D0F2B64C7C5B","from":"+1234567890","message":"Hello!","#,
    r#""type":"text","timestamp":"2025-01-08T12:00:00.000Z"}"#
);

/// Its signature with the key of the documentation.
const KNOWN_SIGNATURE: &str = "75b621fabb36627311b1338288b97f0a826548e361d39e1d1c51a60fe5f18cad";

const EXAMPLES: &str = "\
Examples:
  offhook serve
  offhook serve --settings /etc/offhook.toml
  OFFHOOK__SERVER__BIND=127.0.0.1:8080 RUST_LOG=debug offhook serve

Exit status: 0 stopped, 1 cannot start or listen, 2 usage, 70 the journal's thread has panicked, 130 or
143 ended by a second SIGINT or SIGTERM.";

/// How the paths of the admin listener begin.
const DASHBOARD: &str = if cfg!(feature = "dashboard") {
    "/ (dashboard), "
} else {
    ""
};

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::process::ExitCode;
    use std::sync::mpsc;

    use actix_rt::{Arbiter, System};
    use offhook::Timestamp;
    use offhook::settings::{DOCUMENTED_KEY, Settings};
    use offhook::signature::{Scheme as _, Secret, XWebhookSignature};
    use tokio::sync::oneshot;

    use super::*;

    fn text(source: Source, bind: &str, public: &str) -> String {
        let mut settings = Settings::default();
        settings.server.bind = bind.parse().unwrap();
        settings.sources.push(source);
        let program = Invoked {
            name: "offhook".to_owned(),
            file: &SettingsFile::default(),
            overrides_bind: false,
        };
        let text = welcome(&settings, public.parse().unwrap(), None, &[], &program);
        anstream::adapter::strip_str(&text).to_string()
    }

    fn secret(text: impl AsRef<[u8]>) -> Secret {
        Secret::new(text).unwrap()
    }

    /// Holds up the end of a thread: the thread-local that was used last is the first to be destroyed.
    struct HeldUp(Option<oneshot::Sender<()>>, mpsc::Receiver<()>);

    impl Drop for HeldUp {
        fn drop(&mut self) {
            let _ = self.0.take().map(|begun| begun.send(()));
            let _ = self.1.recv();
        }
    }

    thread_local! {
        static HELD_UP: RefCell<Option<HeldUp>> = const { RefCell::new(None) };
    }

    /// If it did, this whole process would end.
    #[test]
    fn a_worker_that_ends_last_aborts_nothing() {
        let (end, until) = mpsc::channel();
        let main = std::thread::spawn(move || {
            let system = System::new();
            let worker = system.block_on(async {
                let worker = Arbiter::new();
                let (begun, has_begun) = oneshot::channel();
                let held_up = HeldUp(Some(begun), until);
                worker.spawn(async {
                    HELD_UP.set(Some(held_up));
                    Arbiter::current().stop();
                });
                has_begun.await.unwrap();
                // The system hears that the worker has left.
                tokio::task::yield_now().await;
                worker
            });
            leave(system);
            worker
        });
        let worker = main.join().unwrap();
        drop(end);
        worker.join().unwrap();
    }

    #[test]
    fn a_broken_journal_is_exit_status_70() {
        let ended = super::super::output::exit(Err(failure(Error::JournalBroken)));
        assert_eq!(ended, ExitCode::from(70));
        let other = Error::Io {
            what: "the public listener",
            error: std::io::ErrorKind::Other.into(),
        };
        let ended = super::super::output::exit(Err(failure(other)));
        assert_eq!(ended, ExitCode::from(1));
    }

    #[test]
    fn the_known_signature_is_right() {
        let key = secret(DOCUMENTED_KEY);
        let headers = XWebhookSignature.sign(KNOWN_BODY.as_bytes(), &key, Timestamp::UNIX_EPOCH);
        assert_eq!(headers[0].value, KNOWN_SIGNATURE);
    }

    #[test]
    fn what_to_try() {
        let documented = || Source::new("g").secret(secret(DOCUMENTED_KEY));
        let text_of = text(documented(), "127.0.0.1:5000", "127.0.0.1:5000");
        assert!(text_of.contains("\n  offhook send\n"), "{text_of}");
        let curl = "curl http://127.0.0.1:5000/webhook -H";
        assert!(text_of.contains(curl), "{text_of}");
        let own = Source::new("g").secret(secret("own-secret"));
        let own = text(own, "0.0.0.0:0", "0.0.0.0:8080");
        let send = "\n  offhook send http://127.0.0.1:8080/webhook\n";
        assert!(own.contains(send) && !own.contains("curl"), "{own}");
        let unsigned = Source::new("g").dangerous_unsigned(secret("0123456789abcdef"));
        let unsigned = text(unsigned, "[::]:80", "[::]:80");
        assert!(unsigned.ends_with("\n  offhook send\n"), "{unsigned}");
        assert!(!unsigned.contains("0123456789abcdef"), "{unsigned}");
    }
}

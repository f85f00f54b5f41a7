//! `offhook serve`: runs the server until it is stopped. After the start it prints where it listens, and
//! what to try next.

mod second_signal;

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use clap::Args;
use futures_util::future::join;
use offhook::settings::Settings;
use offhook::{Error, Offhook, Source};
use tokio::signal::unix::{SignalKind, signal};

use super::check::{has_documented_key, without_consumer};
use super::output::{Failure, Outcome, Verdict, title};
use super::{SettingsFile, invocation, output};

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
        actix_rt::System::new().block_on(self.serve())
    }

    async fn serve(self) -> Outcome {
        // From here on SIGHUP does not end the process. The server says what it does then.
        let listening = signal(SignalKind::hangup());
        drop(listening.map_err(|error| Failure::failed(format!("listening to signals: {error}")))?);
        let settings = self.file.load("nothing was started")?;
        offhook::logging::init();
        let server = Offhook::new(settings.clone()).start().await;
        let server = server.map_err(Failure::failed)?;
        let (public, admin) = (server.public_address(), server.admin_address());
        let welcome = welcome(&settings, public, admin, &invocation());
        second_signal::watch();
        // Signals are handled before the address is printed, because a reader of it may stop the server
        // immediately.
        let print = async { output::note(&welcome) };
        let (stopped, ()) = join(server.run_until_stopped(), print).await;
        stopped.map_err(failure)?;
        Ok(Verdict::Yes)
    }
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

/// Where a started server listens, and what to try next. `program` is how the user starts this program.
fn welcome(
    settings: &Settings,
    public: SocketAddr,
    admin: Option<SocketAddr>,
    program: &str,
) -> String {
    let version = concat!("offhook ", env!("CARGO_PKG_VERSION"), " is listening");
    let mut text = title(version);
    let url = |source: &Source| format!("http://{}{}", reachable(public), source.patterns()[0]);
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
            "\n  admin     http://{admin}/health, /ready, /metrics"
        );
    }
    let _ = write!(text, "\n  engine    {}", settings.journal.promise());
    if let Some(what) = without_consumer(settings) {
        let _ = write!(text, "\n  handlers  {what}");
    }
    if let Some(source) = settings.sources.first() {
        let heading = title("Try it from another terminal:");
        let try_it = try_it(source, &url(source), program);
        let _ = write!(text, "\n\n{heading}\n{try_it}\n");
    }
    text
}

fn try_it(source: &Source, url: &str, program: &str) -> String {
    let mut send = format!("  {program} send");
    if url != "http://127.0.0.1:5000/webhook" {
        let _ = write!(send, " {url}");
    }
    if source.path_token.is_some() {
        // `send` can sign in one way only. A source with a path token ignores the signature.
        return send;
    }
    match source.scheme.name() {
        "x-webhook-signature" if has_documented_key(source) => format!(
            "{send}\nor\n  curl {url} -H 'Content-Type: application/json' \\\n    \
             -H 'X-Webhook-Signature: {KNOWN_SIGNATURE}' \\\n    -d '{KNOWN_BODY}'"
        ),
        "x-webhook-signature" => format!("{send} --secret SECRET"),
        _ => format!("  {program} sign --help"),
    }
}

/// An address to send to: a server that listens everywhere can be reached on this machine.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

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

#[cfg(test)]
mod tests {
    use std::process::ExitCode;

    use offhook::Timestamp;
    use offhook::settings::{DOCUMENTED_KEY, Settings};
    use offhook::signature::{Scheme as _, Secret, XWebhookSignature};

    use super::*;

    fn text(source: Source, public: &str) -> String {
        let mut settings = Settings::default();
        settings.sources.push(source);
        let text = welcome(&settings, public.parse().unwrap(), None, "offhook");
        anstream::adapter::strip_str(&text).to_string()
    }

    fn secret(text: impl AsRef<[u8]>) -> Secret {
        Secret::new(text).unwrap()
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
        let documented = text(
            Source::new("g").secret(secret(DOCUMENTED_KEY)),
            "127.0.0.1:5000",
        );
        assert!(documented.contains("\n  offhook send\n"), "{documented}");
        assert!(
            documented.contains("curl http://127.0.0.1:5000/webhook -H"),
            "{documented}"
        );
        let own = text(
            Source::new("g").secret(secret("own-secret")),
            "0.0.0.0:8080",
        );
        let send = "\n  offhook send http://127.0.0.1:8080/webhook --secret SECRET\n";
        assert!(own.contains(send) && !own.contains("curl"), "{own}");
        let unsigned = Source::new("g").dangerous_unsigned(secret("0123456789abcdef"));
        let unsigned = text(unsigned, "[::]:80");
        assert!(
            unsigned.contains("offhook send http://[::1]:80/webhook/{token}\n"),
            "{unsigned}"
        );
    }
}

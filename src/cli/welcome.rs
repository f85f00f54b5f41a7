//! What `offhook serve` prints after its start: where it listens, and what to try next.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use offhook::Source;
use offhook::settings::{JournalSettings, Settings};

use super::check::has_documented_key;
use super::output::title;

/// A server that has started.
pub(super) struct Welcome<'a> {
    pub(super) settings: &'a Settings,
    pub(super) public: SocketAddr,
    pub(super) admin: Option<SocketAddr>,
    /// How the user starts this program.
    pub(super) program: &'a str,
}

impl Welcome<'_> {
    pub(super) fn text(&self) -> String {
        let mut text = title(concat!(
            "offhook ",
            env!("CARGO_PKG_VERSION"),
            " is listening"
        ));
        let settings = self.settings;
        for source in &settings.sources {
            let name = &source.name;
            let how = match source.path_token {
                None => source.scheme.name(),
                Some(_) => "unsigned, the path holds a token",
            };
            let url = self.url(&source.patterns()[0]);
            let _ = write!(text, "\n  webhooks  {url}  from {name} ({how})");
        }
        if let Some(admin) = self.admin {
            let admin = reachable(admin);
            let _ = write!(
                text,
                "\n  admin     http://{admin}/health, /ready, /metrics"
            );
        }
        let _ = write!(text, "\n  engine    {}", settings.journal.promise());
        if settings.handlers.is_empty() && settings.subscriptions.is_empty() {
            let events = match settings.journal {
                JournalSettings::None => "events are verified, answered and discarded",
                _ => "events are kept for later subscriptions",
            };
            let _ = write!(text, "\n  handlers  none: {events}");
        }
        if let Some(source) = settings.sources.first() {
            let try_it = title("Try it from another terminal:");
            let _ = write!(text, "\n\n{try_it}\n{}\n", self.try_it(source));
        }
        text
    }

    fn try_it(&self, source: &Source) -> String {
        let url = self.url(&source.patterns()[0]);
        let mut send = format!("  {} send", self.program);
        if url != "http://127.0.0.1:5000/webhook" {
            let _ = write!(send, " {url}");
        }
        if source.path_token.is_some() {
            // `send` can sign in one way only. A source with a path token ignores the signature.
            return send;
        }
        match source.scheme.name() {
            "x-webhook-signature" if has_documented_key(source) => {
                let length = "Content-Type: application/json";
                format!(
                    "{send}\nor\n  curl {url} -H '{length}' \\\n    -H 'X-Webhook-Signature: \
                     {KNOWN_SIGNATURE}' \\\n    -d '{KNOWN_BODY}'"
                )
            }
            "x-webhook-signature" => format!("{send} --secret SECRET"),
            _ => format!("  {} sign --help", self.program),
        }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", reachable(self.public))
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

#[cfg(test)]
mod tests {
    use offhook::Timestamp;
    use offhook::settings::{DOCUMENTED_KEY, Settings};
    use offhook::signature::{Scheme as _, Secret, XWebhookSignature};

    use super::*;

    fn text(source: Source, public: &str) -> String {
        let mut settings = Settings::default();
        settings.sources.push(source);
        let welcome = Welcome {
            settings: &settings,
            public: public.parse().unwrap(),
            admin: None,
            program: "offhook",
        };
        anstream::adapter::strip_str(&welcome.text()).to_string()
    }

    fn secret(text: impl AsRef<[u8]>) -> Secret {
        Secret::new(text).unwrap()
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

//! `offhook send`: signed test events, one or many.

mod target;

use clap::{Args, ValueEnum};
use offhook::clock::{Clock as _, SystemClock};
use offhook::signature::Secret;
use offhook::{Timestamp, escape_controls};
use serde_json::json;
use url::Url;

use super::client::{Answer, Client, Signed, http_url};
use super::input::read_body;
use super::load::{self, Plan};
use super::output::{self, Outcome, Verdict};
use super::settings_file::SettingsFile;
use super::trust::Trust;
use target::Target;

/// Send signed test events to a receiver
///
/// One event shows what was sent and answered. Many show how fast they are answered. What the options do
/// not say is read in the settings: where the server listens, and the path, scheme and first secret of its
/// first source. Without a settings file it is http://127.0.0.1:5000/webhook, and the key that the
/// gateway's documentation prints.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Send {
    /// Where to POST; default: the address and the path of the source in the settings
    #[arg(value_parser = receiver_url)]
    url: Option<Url>,

    /// Send as this source of the settings; default: the one with the URL's path, or the first
    #[arg(long, value_name = "NAME")]
    source: Option<String>,

    /// Which event, in the shape that the gateway documents; each has a message id of its own
    #[arg(long, value_name = "KIND", value_enum, default_value_t = Kind::Message)]
    event: Kind,

    /// Send the bytes of this file instead, exactly as they are; - for standard input
    #[arg(long = "file", value_name = "FILE", conflicts_with = "event")]
    body: Option<String>,

    /// The shared secret: env:NAME, file:PATH, or the text itself; default: the first of the source
    #[arg(long, env = "OFFHOOK_SECRET", hide_env_values = true)]
    #[arg(allow_hyphen_values = true, value_parser = Secret::resolve)]
    secret: Option<Secret>,

    /// How many events, up to 10000000
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    count: u64,

    /// Events per second, even if earlier ones are not yet answered; without it, as fast as the receiver
    /// answers
    #[arg(long, value_parser = rate)]
    rate: Option<f64>,

    /// Connections, each with one event at a time, up to 1024
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=1024))]
    conns: u16,

    /// Print one JSON object instead
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    file: SettingsFile,

    #[command(flatten)]
    trust: Trust,
}

fn receiver_url(text: &str) -> Result<Url, String> {
    http_url(text, "http://127.0.0.1:5000/webhook")
}

fn rate(text: &str) -> Result<f64, String> {
    let number = text.parse().ok();
    let number = number.filter(|number| (0.001..=1_000_000.0).contains(number));
    number.ok_or_else(|| "expected events per second, from 0.001 to 1000000".to_owned())
}

impl Send {
    pub(super) fn run(self) -> Outcome {
        let target = Target::of(&self)?;
        let body = self.body.as_deref().map(read_body).transpose()?;
        let file = body.map(|body| target.sign(body));
        let event = || match &file {
            Some(signed) => signed.clone(),
            None => target.sign(self.event.body(&message_id(), SystemClock.now())),
        };
        let connections = usize::try_from(self.count).unwrap_or(usize::MAX);
        let plan = Plan {
            count: self.count,
            connections: connections.min(self.conns.into()),
            rate: self.rate,
        };
        let (url, shown) = (target.url.clone(), target.shown.clone());
        let client = Client::new(
            &self.trust,
            url,
            shown,
            plan.connections,
            target.certificate.as_deref(),
        )?;
        actix_rt::System::new().block_on(async {
            if self.count > 1 {
                return self.many(plan, &client, &target, |_| event()).await;
            }
            let what = match file {
                Some(_) => "the file's bytes",
                None => self.event.description(),
            };
            self.one(&client, &target, event(), what).await
        })
    }

    async fn one(&self, client: &Client, target: &Target, signed: Signed, event: &str) -> Outcome {
        let (url, bytes) = (&target.shown, signed.body.len());
        let source = target.source.as_ref().map(|(source, _)| &source.name);
        let from = SystemClock.monotonic();
        let answer = client.post(signed).await;
        let good = matches!(&answer, Ok(answer) if (200..300).contains(&answer.status));
        let millis = |answer: &Answer| ((answer.at - from).as_secs_f64() * 1e6).round() / 1e3;
        if self.json {
            let answered = answer.as_ref().ok();
            output::print_json(&json!({
                "url": url,
                "source": source,
                "event": event,
                "bytes": bytes,
                "status": answered.map(|answer| answer.status),
                "body": answered.map(|answer| &answer.body),
                "latency_ms": answered.map(millis),
                "error": answer.as_ref().err(),
            }))?;
            return Ok(Verdict::from(good));
        }
        output::print(&format!("sent      {event} ({bytes} bytes)"))?;
        let as_source = source.map_or(String::new(), |name| format!(" as {name}"));
        output::print(&format!("to        {url}{}", escape_controls(&as_source)))?;
        match &answer {
            Ok(answer) => {
                let styled = if good { output::good } else { output::bad };
                let status = styled(&answer.status.to_string());
                let body = escape_controls(&answer.body);
                output::print(&format!("answered  {status} {body}"))?;
                output::print(&format!("in        {} ms", millis(answer)))?;
                if !good {
                    output::note(&target.advice(answer.status));
                }
            }
            Err(error) => {
                let advice = target.advice_unreached(error, self.url.is_some());
                output::note(&format!("{} {error}\n{advice}", output::bad("no answer:")));
            }
        }
        Ok(Verdict::from(good))
    }

    async fn many(
        &self,
        plan: Plan,
        client: &Client,
        target: &Target,
        event: impl Fn(u64) -> Signed,
    ) -> Outcome {
        let summary = load::run(plan, client, event).await;
        if self.json {
            output::print_json(&summary)?;
            return Ok(Verdict::from(summary.is_good()));
        }
        output::print(&summary.text())?;
        if let Some(status) = summary.other_statuses.keys().next() {
            output::note(&target.advice(*status));
        }
        if let Some(error) = summary.errors.keys().next() {
            output::note(&target.advice_unreached(error, self.url.is_some()));
        }
        Ok(Verdict::from(summary.is_good()))
    }
}

/// The kinds that can be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// A text message
    Message,
    /// A message was read
    Status,
    /// A session connected
    Connection,
}

impl Kind {
    /// The body of an event at `now`, with the fields in the documented order.
    fn body(self, message_id: &str, now: Timestamp) -> String {
        let id = format!(r#""messageId":"{message_id}","#);
        let (event, id, fields) = match self {
            Self::Message => ("message", &*id, MESSAGE),
            Self::Status => ("status", &*id, r#""status":"read""#),
            Self::Connection => ("connection", "", r#""status":"connected""#),
        };
        format!(
            r#"{{"event":"{event}","sessionId":"{SESSION}",{id}{fields},"timestamp":"{now:.3}"}}"#
        )
    }

    /// A description of the event, in the words of the `log` handler.
    const fn description(self) -> &'static str {
        match self {
            Self::Message => "message from +1234567890: Hello!",
            Self::Status => "status: read",
            Self::Connection => "connection status: connected",
        }
    }
}

/// An id that no other message has.
fn message_id() -> String {
    let (_, random) = uuid::Uuid::now_v7().as_u64_pair();
    format!("3EB0{random:016X}")
}

const MESSAGE: &str = r#""from":"+1234567890","message":"Hello!","type":"text""#;

const SESSION: &str = "408f7372-f7c9-4299-a8db-326bc5548a73";

const EXAMPLES: &str = "\
Examples:
  offhook send                                   One message to the server of ./settings.toml
  offhook send --settings /etc/offhook.toml --source shop
  offhook send --event status --secret env:SECRET
  offhook send https://hooks.example.com/webhook --secret file:/run/secrets/hook
  offhook send http://127.0.0.1:5000/webhook/SESSION --secret env:SESSION_SECRET
                                                 To a session that has secrets of its own
  offhook send --file body.json                  The file's bytes, exactly
  offhook send --count 10000 --conns 32          As fast as the receiver answers
  offhook send --count 10000 --rate 500          500 events a second

Exit status: 0 when every answer is 2xx, 1 when not, 2 usage.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_and_rates() {
        assert!(receiver_url("http://localhost:5000/webhook").is_ok());
        assert!(receiver_url("https://[::1]/webhook").is_ok());
        for odd in [
            "",
            "localhost:5000/webhook",
            "127.0.0.1:5000",
            "/webhook",
            "ftp://x/",
        ] {
            assert!(
                receiver_url(odd)
                    .unwrap_err()
                    .contains("http://127.0.0.1:5000"),
                "{odd}"
            );
        }
        assert_eq!(rate("0.5"), Ok(0.5));
        for odd in ["", "0", "-1", "NaN", "inf", "1e9", "fast"] {
            assert!(rate(odd).is_err(), "{odd}");
        }
    }

    #[test]
    fn the_documented_shape() {
        let now = "2025-01-08T12:00:00Z".parse().unwrap();
        let body = |kind: Kind| kind.body("3EB0ABCD00010000001F", now);
        let session = SESSION;
        assert_eq!(
            body(Kind::Message),
            format!(
                r#"{{"event":"message","sessionId":"{session}","messageId":"3EB0ABCD00010000001F","from":"+1234567890","message":"Hello!","type":"text","timestamp":"2025-01-08T12:00:00.000Z"}}"#
            )
        );
        assert_eq!(
            body(Kind::Status),
            format!(
                r#"{{"event":"status","sessionId":"{session}","messageId":"3EB0ABCD00010000001F","status":"read","timestamp":"2025-01-08T12:00:00.000Z"}}"#
            )
        );
        assert_eq!(
            body(Kind::Connection),
            format!(
                r#"{{"event":"connection","sessionId":"{session}","status":"connected","timestamp":"2025-01-08T12:00:00.000Z"}}"#
            )
        );
    }
}

//! `offhook send`: signed test events, one or many.

use bytes::Bytes;
use clap::Args;
use offhook::clock::{Clock as _, SystemClock};
use offhook::settings::DOCUMENTED_KEY;
use offhook::signature::{Scheme as _, Secret, XWebhookSignature};
use url::Url;

use super::client::{self, Client, Signed};
use super::load::{self, Plan};
use super::output::{Failure, Outcome, Verdict};
use super::report::Report;
use super::sample::{Kind, Samples};
use super::{input, output};

/// Send signed test events to a receiver
///
/// One event shows what was sent and answered. Many show how fast they are answered.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Send {
    /// Where to POST
    #[arg(default_value = "http://127.0.0.1:5000/webhook", value_parser = http_url)]
    url: Url,

    /// Which event, in the shape that the gateway documents; each has a message id of its own
    #[arg(long, value_name = "KIND", value_enum, default_value_t = Kind::Message)]
    event: Kind,

    /// Send the bytes of this file instead, exactly as they are; - for standard input
    #[arg(long, value_name = "FILE", conflicts_with = "event")]
    file: Option<String>,

    /// The shared secret: env:NAME, file:PATH, or the text itself; without it, the key that the
    /// gateway's documentation prints
    #[arg(
        long,
        env = "OFFHOOK_SECRET",
        hide_env_values = true,
        allow_hyphen_values = true
    )]
    secret: Option<String>,

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
}

fn http_url(text: &str) -> Result<Url, String> {
    let expected = "expected a URL such as http://127.0.0.1:5000/webhook";
    let url = Url::parse(text).map_err(|error| format!("{error}; {expected}"))?;
    match url.scheme() {
        "http" | "https" => Ok(url),
        _ => Err(expected.to_owned()),
    }
}

fn rate(text: &str) -> Result<f64, String> {
    let number = text.parse().ok();
    let number = number.filter(|number| (0.001..=1_000_000.0).contains(number));
    number.ok_or_else(|| "expected events per second, from 0.001 to 1000000".to_owned())
}

impl Send {
    pub(super) fn run(self) -> Outcome {
        let secret = match &self.secret {
            Some(reference) => input::secret(reference)?,
            None => Secret::new(DOCUMENTED_KEY).expect("the documented key is not empty"),
        };
        let events = Events::new(self.event, self.file.as_deref(), secret)?;
        let most = usize::try_from(self.count).unwrap_or(usize::MAX);
        let connections = usize::from(self.conns).min(most);
        let client = Client::new(self.url.clone(), connections)?;
        actix_rt::System::new().block_on(async {
            match self.count {
                1 => self.one(&client, &events).await,
                count => {
                    let rate = self.rate;
                    let plan = Plan {
                        count,
                        connections,
                        rate,
                    };
                    self.many(plan, &client, &events).await
                }
            }
        })
    }

    async fn one(&self, client: &Client, events: &Events) -> Outcome {
        let signed = events.signed(0);
        let bytes = signed.body.len();
        let from = SystemClock.monotonic();
        let answer = client.post(signed).await;
        let report = Report {
            url: client.url().as_str(),
            event: events.description(),
            bytes,
            millis: answer.as_ref().ok().map(|answer| {
                let took = answer.at - from;
                (took.as_secs_f64() * 1e6).round() / 1e3
            }),
            answer,
        };
        match self.json {
            true => report.print_json()?,
            false => report.print()?,
        }
        Ok(Verdict::from(report.good()))
    }

    async fn many(&self, plan: Plan, client: &Client, events: &Events) -> Outcome {
        let summary = load::run(plan, client, |number| events.signed(number)).await;
        if self.json {
            output::print_json(&summary)?;
            return Ok(Verdict::from(summary.good()));
        }
        output::print(&summary.text())?;
        if let Some(status) = summary.other_statuses.keys().next() {
            output::note(&client::advice(*status));
        }
        if let Some(error) = summary.errors.keys().next() {
            output::note(&client::advice_unreached(error));
        }
        Ok(Verdict::from(summary.good()))
    }
}

/// The events to send: samples, or the same bytes each time.
struct Events {
    source: Source,
    secret: Secret,
}

enum Source {
    Samples(Samples),
    File(Signed),
}

impl Events {
    fn new(kind: Kind, file: Option<&str>, secret: Secret) -> Result<Self, Failure> {
        let source = match file {
            Some(file) => Source::File(sign(input::body(file)?.into(), &secret)),
            None => Source::Samples(Samples::new(kind)),
        };
        Ok(Self { source, secret })
    }

    fn signed(&self, number: u64) -> Signed {
        match &self.source {
            Source::Samples(samples) => {
                let body = samples.body(number, SystemClock.now());
                sign(body.into(), &self.secret)
            }
            Source::File(signed) => signed.clone(),
        }
    }

    fn description(&self) -> &'static str {
        match &self.source {
            Source::Samples(samples) => samples.description(),
            Source::File(_) => "the file's bytes",
        }
    }
}

fn sign(body: Bytes, secret: &Secret) -> Signed {
    let headers = XWebhookSignature.sign(&body, secret, SystemClock.now());
    Signed { body, headers }
}

const EXAMPLES: &str = "\
Examples:
  offhook send                                   One message to http://127.0.0.1:5000/webhook
  offhook send --event status --secret env:SECRET
  offhook send https://hooks.example.com/webhook --secret file:/run/secrets/hook
  offhook send --file body.json                  The file's bytes, exactly
  offhook send --count 10000 --conns 32          As fast as the receiver answers
  offhook send --count 10000 --rate 500          500 events a second

Exit status: 0 when every answer is 2xx, 1 when not, 2 usage.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_and_rates() {
        assert!(http_url("http://localhost:5000/webhook").is_ok());
        assert!(http_url("https://[::1]/webhook").is_ok());
        for odd in [
            "",
            "localhost:5000/webhook",
            "127.0.0.1:5000",
            "/webhook",
            "ftp://x/",
        ] {
            assert!(
                http_url(odd).unwrap_err().contains("http://127.0.0.1:5000"),
                "{odd}"
            );
        }
        assert_eq!(rate("0.5"), Ok(0.5));
        for odd in ["", "0", "-1", "NaN", "inf", "1e9", "fast"] {
            assert!(rate(odd).is_err(), "{odd}");
        }
    }
}

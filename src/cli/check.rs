//! `offhook check`: every problem of the settings, or what would run.

use bytesize::ByteSize;
use clap::Args;
use offhook::escape_controls;
use offhook::settings::{
    GatewaySummary, HandlerSummary, LimitsSummary, Problem, Problems, Settings, SourceSummary,
    Summary, UseSummary,
};
use serde::Serialize;

use super::SettingsFile;
use super::output::{self, Outcome, Verdict, title};

/// Say what is wrong with a settings file, or what would run
///
/// Secrets are read, so that a missing one is found, and never shown.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Check {
    #[command(flatten)]
    file: SettingsFile,

    /// Print one JSON object instead, problems too
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report {
    ok: bool,
    problems: Vec<Place>,
    summary: Option<Summary>,
}

#[derive(Serialize)]
struct Place {
    place: String,
    text: String,
}

impl From<&Problem> for Place {
    fn from(Problem { place, text }: &Problem) -> Self {
        let (place, text) = (place.clone(), text.clone());
        Self { place, text }
    }
}

impl Check {
    pub(super) fn run(self) -> Outcome {
        if self.json {
            let report = Report::new(Settings::load(&self.file.settings));
            output::print_json(&report)?;
            return Ok(Verdict::from(report.ok));
        }
        let settings = self.file.load("nothing would start")?;
        let file = self.file.settings.display();
        output::print(&format!("{file}: {}\n", output::good("no problem")))?;
        output::print(&text(&settings.summary()))?;
        Ok(Verdict::Yes)
    }
}

impl Report {
    fn new(loaded: Result<Settings, Problems>) -> Self {
        let (problems, summary) = match loaded {
            Ok(settings) => (Vec::new(), Some(settings.summary())),
            Err(problems) => (problems.list().iter().map(Place::from).collect(), None),
        };
        Self {
            ok: summary.is_some(),
            problems,
            summary,
        }
    }
}

fn text(summary: &Summary) -> String {
    let mut lines = vec![line("webhooks", &format!("http://{}", summary.bind))];
    lines.extend(summary.sources.iter().flat_map(source_lines));
    let admin = match &summary.admin {
        None => "none".to_owned(),
        Some(admin) if admin.token => format!("http://{}, asks for a token", admin.bind),
        Some(admin) => format!("http://{}, without a token", admin.bind),
    };
    lines.push(line("admin", &admin));
    lines.push(line("engine", &summary.promise));
    match summary.handlers.is_empty() {
        true => lines.push(line(
            "handlers",
            "none: events are verified, answered and let go",
        )),
        false => lines.push(line("handlers", &summary.handlers.len().to_string())),
    }
    lines.extend(summary.handlers.iter().flat_map(handler_lines));
    lines.extend(subscription_lines(summary));
    if !summary.gateways.is_empty() {
        let count = summary.gateways.len();
        let text = format!("{count}, told at the start where to send");
        lines.push(line("gateways", &text));
    }
    lines.extend(summary.gateways.iter().flat_map(gateway_lines));
    lines.extend(limits_lines(&summary.limits));
    lines.push(line("fingerprint", &summary.fingerprint));
    lines.join("\n")
}

fn line(name: &str, text: &str) -> String {
    format!("{}  {text}", title(&format!("{name:<11}")))
}

/// A line below the one before it.
fn below(text: &str) -> String {
    format!("{:13}{text}", "")
}

fn source_lines(source: &SourceSummary) -> Vec<String> {
    let SourceSummary { paths, dialect, .. } = source;
    let mut lines = vec![line(&format!("  {}", source.name), &paths.join(", "))];
    match source.scheme {
        None => lines.push(below("unsigned: the token in the path lets in")),
        Some(scheme) => {
            let secrets = plural(source.secrets, "secret");
            lines.push(below(&format!("scheme {scheme}, {secrets}")));
        }
    }
    if source.documented_key {
        lines.push(below(
            "its secret is printed in the gateway's documentation: everybody knows it",
        ));
    }
    if !source.sessions.is_empty() {
        let own = source.sessions.join(", ");
        lines.push(below(&format!("sessions with secrets of their own: {own}")));
    }
    lines.push(below(&format!("dialect {dialect}")));
    if let Some(after) = source.quiet_after {
        let after = humantime::format_duration(after);
        lines.push(below(&format!("quiet after {after} without an event")));
    }
    for (session, after) in &source.quiet_sessions {
        let after = humantime::format_duration(*after);
        lines.push(below(&format!("session {session} quiet after {after}")));
    }
    lines
}

fn handler_lines(handler: &HandlerSummary) -> [String; 4] {
    let used = match &handler.used {
        UseSummary::Log => "log".to_owned(),
        UseSummary::Jsonl { path } => format!("jsonl to {path}"),
        UseSummary::Exec {
            command,
            env,
            reject_codes,
        } => {
            let mut text = format!("exec {command:?}");
            if !env.is_empty() {
                text += &format!(", variables {}", env.join(", "));
            }
            if !reject_codes.is_empty() {
                text += &format!(", reject codes {reject_codes:?}");
            }
            text
        }
        _ => "another kind".to_owned(),
    };
    let events = handler
        .events
        .as_ref()
        .map_or("all".to_owned(), |kinds| kinds.join(", "));
    let sessions = handler
        .sessions
        .as_ref()
        .map_or("all".to_owned(), |ids| ids.join(", "));
    let HandlerSummary {
        order, concurrency, ..
    } = handler;
    let timeout = humantime::format_duration(handler.timeout);
    [
        line(&format!("  {}", handler.name), &used),
        below(&format!("events {events}")),
        below(&format!("sessions {sessions}")),
        below(&format!(
            "order {order}, timeout {timeout}, concurrency {concurrency}"
        )),
    ]
}

fn subscription_lines(summary: &Summary) -> Vec<String> {
    let subscriptions = &summary.subscriptions;
    if subscriptions.is_empty() {
        return Vec::new();
    }
    let mut lines = vec![line("subscribers", &subscriptions.len().to_string())];
    for one in subscriptions {
        let events = one.events.as_ref();
        let events = events.map_or("all".to_owned(), |kinds| kinds.join(", "));
        let session = match one.session.as_str() {
            "*" => "all",
            session => session,
        };
        let signed = if one.signed { "signed" } else { "not signed" };
        let (order, concurrency) = (&one.order, one.concurrency);
        let timeout = humantime::format_duration(one.timeout);
        lines.extend([
            line(
                &format!("  {}", one.name),
                &format!("{}, {signed}", one.webhook_url),
            ),
            below(&format!("events {events}")),
            below(&format!("sessions {session}")),
            below(&format!(
                "order {order}, timeout {timeout}, concurrency {concurrency}"
            )),
        ]);
    }
    lines
}

fn gateway_lines(gateway: &GatewaySummary) -> Vec<String> {
    let GatewaySummary {
        url,
        shape,
        webhook_url,
        ..
    } = gateway;
    let (sessions, events) = (gateway.sessions.join(", "), gateway.events.join(", "));
    let mut lines = vec![
        line(
            &format!("  {}", gateway.name),
            &format!("{url}, shape {shape}"),
        ),
        below(&format!("sessions {}", escape_controls(&sessions))),
        below(&format!("to {webhook_url}, events {events}")),
    ];
    let secret = match (gateway.secret, gateway.secret_known) {
        (false, _) => "without a secret",
        (true, true) => "with a secret that a source has",
        (true, false) => "with a secret that no source has: what it sends would be refused",
    };
    let headers = match gateway.headers.is_empty() {
        true => String::new(),
        false => format!(", headers {}", gateway.headers.join(", ")),
    };
    lines.push(below(&format!("{secret}{headers}")));
    lines.extend(gateway.warnings.iter().map(|warning| below(warning)));
    lines
}

fn limits_lines(limits: &LimitsSummary) -> [String; 3] {
    let bytes = |bytes: usize| ByteSize::b(bytes as u64).display().iec();
    let (body, in_flight) = (bytes(limits.max_body), bytes(limits.max_in_flight));
    let workers = match limits.workers {
        0 => "one worker a core".to_owned(),
        workers => plural(workers, "worker"),
    };
    let connections = limits.max_connections;
    let request = humantime::format_duration(limits.request_timeout);
    let idle = humantime::format_duration(limits.keep_alive);
    [
        line(
            "limits",
            &format!("a body {body}, all bodies at once {in_flight}"),
        ),
        below(&format!("{connections} connections, {workers}")),
        below(&format!("a request {request}, an idle connection {idle}")),
    ]
}

fn plural(count: usize, what: &str) -> String {
    match count {
        1 => format!("1 {what}"),
        count => format!("{count} {what}s"),
    }
}

const EXAMPLES: &str = "\
Examples:
  offhook check
  offhook check --settings /etc/offhook.toml
  offhook check --json | jq .summary.fingerprint

Exit status: 0 no problem, 1 problems, 2 usage.";

#[cfg(test)]
mod tests {
    use offhook::Source;
    use offhook::signature::{Secret, Secrets};

    use super::*;

    #[test]
    fn a_source_in_words() {
        let secret = || Secret::new("hidden").unwrap();
        let source = Source::new("g").secret(secret()).secret(secret());
        let source = source.session("408f", Secrets::new(vec![secret()]));
        let mut settings = Settings::default();
        settings.sources.push(source);
        let text = text(&settings.summary());
        let text = anstream::adapter::strip_str(&text).to_string();
        let expected = [
            "  g          /webhook, /webhook/{session}",
            "             scheme x-webhook-signature, 2 secrets",
            "             sessions with secrets of their own: 408f",
            "             dialect codeskytz\n",
        ];
        let expected = expected.join("\n");
        assert!(text.contains(&expected), "{text}");
        assert!(!text.contains("hidden"), "{text}");
    }
}

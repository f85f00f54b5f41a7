//! What would run, as text. No secret is shown.

use bytesize::ByteSize;
use humantime::format_duration;
use offhook::settings::{
    GatewaySettings, HandlerSettings, ServerSettings, Settings, SubscriptionSettings, Use,
};
use offhook::{HandlerOptions, Source, escape_controls};

use super::super::output::title;
use super::has_documented_key;

pub(super) fn summary(settings: &Settings) -> String {
    let effective = settings.effective();
    let mut lines = vec![line(
        "webhooks",
        &format!("http://{}", settings.server.bind),
    )];
    lines.extend(settings.sources.iter().flat_map(source_lines));
    let admin = match &settings.admin {
        None => "none".to_owned(),
        Some(admin) if admin.token.is_some() => format!("http://{}, asks for a token", admin.bind),
        Some(admin) => format!("http://{}, without a token", admin.bind),
    };
    lines.push(line("admin", &admin));
    lines.push(line("engine", &settings.journal.promise()));
    let handlers = if settings.handlers.is_empty() {
        "none: events are verified, answered and discarded".to_owned()
    } else {
        settings.handlers.len().to_string()
    };
    lines.push(line("handlers", &handlers));
    lines.extend(effective.handlers.iter().flat_map(handler_lines));
    if !settings.subscriptions.is_empty() {
        let count = settings.subscriptions.len().to_string();
        lines.push(line("subscribers", &count));
    }
    lines.extend(effective.subscriptions.iter().flat_map(subscription_lines));
    if !settings.gateways.is_empty() {
        let count = settings.gateways.len();
        let text = format!("{count}, told at the start where to send");
        lines.push(line("gateways", &text));
    }
    let gateways = settings.gateways.iter();
    lines.extend(gateways.flat_map(|gateway| gateway_lines(gateway, &settings.sources)));
    lines.extend(limits_lines(&settings.server));
    lines.push(line("fingerprint", &settings.fingerprint()));
    lines.join("\n")
}

fn line(name: &str, text: &str) -> String {
    format!("{}  {text}", title(&format!("{name:<11}")))
}

/// An indented line below an entry.
fn below(text: &str) -> String {
    format!("{:13}{text}", "")
}

fn source_lines(source: &Source) -> Vec<String> {
    let paths = source.patterns().join(", ");
    let mut lines = vec![line(&format!("  {}", source.name), &paths)];
    if source.path_token.is_some() {
        lines.push(below("unsigned: the path holds a token"));
    } else {
        let secrets = plural(source.secrets.len(), "secret");
        lines.push(below(&format!(
            "scheme {}, {secrets}",
            source.scheme.name()
        )));
    }
    if has_documented_key(source) {
        lines.push(below(
            "its secret is printed in the gateway's documentation, so it is public",
        ));
    }
    if !source.sessions.is_empty() {
        let own: Vec<&str> = source.sessions.iter().map(|(id, _)| id.as_str()).collect();
        let own = own.join(", ");
        lines.push(below(&format!("sessions with secrets of their own: {own}")));
    }
    lines.push(below(&format!("dialect {}", source.dialect.name())));
    if let Some(after) = source.quiet_after {
        let after = format_duration(after);
        lines.push(below(&format!("quiet after {after} without an event")));
    }
    for (session, after) in &source.quiet_sessions {
        let after = format_duration(*after);
        lines.push(below(&format!("session {session} quiet after {after}")));
    }
    lines
}

fn handler_lines(handler: &HandlerSettings) -> [String; 4] {
    let used = match &handler.used {
        Use::Log => "log".to_owned(),
        Use::Jsonl { path } => format!("jsonl to {}", path.display()),
        Use::Exec(exec) => {
            let mut text = format!("exec {:?}", exec.command);
            if !exec.env.is_empty() {
                let names: Vec<&str> = exec.env.keys().map(String::as_str).collect();
                text += &format!(", variables {}", names.join(", "));
            }
            if !exec.reject_codes.is_empty() {
                text += &format!(", reject codes {:?}", exec.reject_codes);
            }
            text
        }
        _ => "another kind".to_owned(),
    };
    let sessions = handler.options.sessions.as_ref();
    let sessions = sessions.map(|ids| ids.iter().map(String::as_str).collect::<Vec<_>>());
    let sessions = sessions.map_or("all".to_owned(), |ids| ids.join(", "));
    let [events, options] = option_lines(&handler.options);
    [
        line(&format!("  {}", handler.name), &used),
        events,
        below(&format!("sessions {sessions}")),
        options,
    ]
}

fn subscription_lines(subscription: &SubscriptionSettings) -> [String; 4] {
    let SubscriptionSettings { name, session, .. } = subscription;
    let session = if session == "*" { "all" } else { session };
    let signed = match subscription.secret {
        Some(_) => "signed",
        None => "not signed",
    };
    let url = subscription.shown_url();
    let [events, options] = option_lines(&subscription.options);
    [
        line(&format!("  {name}"), &format!("{url}, {signed}")),
        events,
        below(&format!("sessions {session}")),
        options,
    ]
}

/// The events and the delivery options; all options are filled in.
fn option_lines(options: &HandlerOptions) -> [String; 2] {
    let events = options.events.as_ref();
    let events = events.map(|kinds| kinds.iter().map(|kind| kind.as_str()).collect::<Vec<_>>());
    let events = events.map_or("all".to_owned(), |kinds| kinds.join(", "));
    let order = options.order.unwrap_or_default();
    let timeout = format_duration(options.timeout.unwrap_or_default());
    let concurrency = options.concurrency.unwrap_or_default();
    [
        below(&format!("events {events}")),
        below(&format!(
            "order {order}, timeout {timeout}, concurrency {concurrency}"
        )),
    ]
}

fn gateway_lines(settings: &GatewaySettings, sources: &[Source]) -> Vec<String> {
    let GatewaySettings {
        name,
        gateway,
        registration,
        ..
    } = settings;
    let (url, shape) = (gateway.url(), gateway.in_shape());
    let sessions = settings.sessions.join(", ");
    let events = registration.events_for(gateway).unwrap_or_default();
    let (webhook_url, events) = (registration.shown_url(), events.join(", "));
    let mut lines = vec![
        line(&format!("  {name}"), &format!("{url}, shape {shape}")),
        below(&format!("sessions {}", escape_controls(&sessions))),
        below(&format!("to {webhook_url}, events {events}")),
    ];
    let secret = match settings.has_secret_of(sources) {
        None => "without a secret",
        Some(true) => "with a secret that a source has",
        Some(false) => "with a secret that no source has: what it sends would be refused",
    };
    let headers: Vec<&str> = gateway.header_names().collect();
    let headers = match &headers[..] {
        [] => String::new(),
        names => format!(", headers {}", names.join(", ")),
    };
    lines.push(below(&format!("{secret}{headers}")));
    let warnings = registration.warnings(gateway);
    lines.extend(warnings.iter().map(|warning| below(warning)));
    lines
}

fn limits_lines(server: &ServerSettings) -> [String; 3] {
    let bytes = |bytes: usize| ByteSize::b(bytes as u64).display().iec();
    let (body, in_flight) = (bytes(server.max_body), bytes(server.max_in_flight));
    let workers = match server.workers {
        0 => "one worker a core".to_owned(),
        workers => plural(workers, "worker"),
    };
    let connections = server.max_connections;
    let request = format_duration(server.request_timeout);
    let idle = format_duration(server.keep_alive);
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

#[cfg(test)]
mod tests {
    use offhook::signature::{Secret, Secrets};

    use super::*;

    #[test]
    fn a_source_in_words() {
        let secret = || Secret::new("hidden").unwrap();
        let source = Source::new("g").secret(secret()).secret(secret());
        let source = source.session("408f", Secrets::new(vec![secret()]));
        let mut settings = Settings::default();
        settings.sources.push(source);
        let text = summary(&settings);
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

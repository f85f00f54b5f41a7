//! What would run, as text.

use std::time::Duration;

use bytesize::ByteSize;
use humantime::format_duration;
use offhook::settings::{
    GatewaySettings, HandlerSettings, ServerSettings, Settings, SubscriptionSettings, Use,
};
use offhook::{HandlerOptions, Source, escape_controls};

use super::super::output::{counted, title};
use super::{handlers_in_words, has_documented_key};

pub(super) fn summary(settings: &Settings) -> String {
    let (server, gateways) = (&settings.server, &settings.gateways);
    let effective = settings.effective();
    let mut text = Text(Vec::new());
    text.entry("webhooks", &format!("http://{}", server.bind));
    for source in &settings.sources {
        text.source(source);
    }
    let admin = settings.admin.as_ref();
    let admin = admin.map_or("none".to_owned(), |admin| match admin.token {
        Some(_) => format!("http://{}, asks for a token", admin.bind),
        None => format!("http://{}, without a token", admin.bind),
    });
    text.entry("admin", &admin);
    text.entry("engine", &settings.journal.promise());
    text.entry("handlers", &handlers_in_words(settings));
    for handler in &effective.handlers {
        text.handler(handler);
    }
    if !settings.subscriptions.is_empty() {
        text.entry("subscribers", &settings.subscriptions.len().to_string());
    }
    for subscription in &effective.subscriptions {
        text.subscription(subscription);
    }
    if !gateways.is_empty() {
        let told = format!("{}, told at the start where to send", gateways.len());
        text.entry("gateways", &told);
    }
    for gateway in gateways {
        text.gateway(gateway, &settings.sources);
    }
    text.limits(server);
    text.entry("fingerprint", &settings.fingerprint());
    text.0.join("\n")
}

/// The lines: entries, and indented lines below them.
struct Text(Vec<String>);

impl Text {
    fn entry(&mut self, name: &str, text: &str) {
        let name = title(&format!("{name:<11}"));
        self.0.push(format!("{name}  {text}"));
    }

    /// An entry that is one of several.
    fn item(&mut self, name: &str, text: &str) {
        self.entry(&format!("  {name}"), text);
    }

    fn below(&mut self, text: &str) {
        self.0.push(format!("{:13}{text}", ""));
    }

    fn source(&mut self, source: &Source) {
        self.item(&source.name, &source.patterns().join(", "));
        if source.path_token.is_some() {
            self.below("unsigned: the path holds a token");
        } else {
            let secrets = counted(source.secrets.len() as u64, "secret");
            self.below(&format!("scheme {}, {secrets}", source.scheme.name()));
        }
        if has_documented_key(source) {
            self.below("its secret is printed in the gateway's documentation, so it is public");
        }
        if !source.sessions.is_empty() {
            let own = joined(source.sessions.iter().map(|(id, _)| id.as_str()));
            self.below(&format!("sessions with secrets of their own: {own}"));
        }
        self.below(&format!("dialect {}", source.dialect.name()));
        let time = |after: &Duration| format_duration(*after);
        if let Some(after) = &source.quiet_after {
            self.below(&format!("quiet after {} without an event", time(after)));
        }
        for (session, after) in &source.quiet_sessions {
            self.below(&format!("session {session} quiet after {}", time(after)));
        }
    }

    fn handler(&mut self, handler: &HandlerSettings) {
        let used = match &handler.used {
            Use::Log => "log".to_owned(),
            Use::Jsonl { path } => format!("jsonl to {}", path.display()),
            Use::Exec(exec) => {
                let mut text = format!("exec {:?}", exec.command);
                if !exec.env.is_empty() {
                    text += &format!(
                        ", variables {}",
                        joined(exec.env.keys().map(String::as_str))
                    );
                }
                if !exec.reject_codes.is_empty() {
                    text += &format!(", reject codes {:?}", exec.reject_codes);
                }
                text
            }
            _ => "another kind".to_owned(),
        };
        self.item(&handler.name, &used);
        let sessions = handler.options.sessions.as_ref();
        let sessions = sessions.map(|ids| joined(ids.iter().map(String::as_str)));
        self.options(&handler.options, sessions.as_deref());
    }

    fn subscription(&mut self, subscription: &SubscriptionSettings) {
        let signed = match subscription.secret {
            Some(_) => "signed",
            None => "not signed",
        };
        let url = subscription.shown_url();
        self.item(&subscription.name, &format!("{url}, {signed}"));
        let session = Some(&*subscription.session).filter(|session| *session != "*");
        self.options(&subscription.options, session);
    }

    /// The options of a consumer, all filled in. `None` are all sessions.
    fn options(&mut self, options: &HandlerOptions, sessions: Option<&str>) {
        let events = options.events.as_ref();
        let events = events.map(|kinds| joined(kinds.iter().map(|kind| kind.as_str())));
        self.below(&format!("events {}", events.as_deref().unwrap_or("all")));
        self.below(&format!("sessions {}", sessions.unwrap_or("all")));
        let order = options.order.unwrap_or_default();
        let timeout = format_duration(options.timeout.unwrap_or_default());
        let concurrency = options.concurrency.unwrap_or_default();
        self.below(&format!(
            "order {order}, timeout {timeout}, concurrency {concurrency}"
        ));
    }

    fn gateway(&mut self, settings: &GatewaySettings, sources: &[Source]) {
        let (gateway, registration) = (&settings.gateway, &settings.registration);
        let (url, shape) = (gateway.url(), gateway.in_shape());
        self.item(&settings.name, &format!("{url}, shape {shape}"));
        let sessions = settings.sessions.join(", ");
        self.below(&format!("sessions {}", escape_controls(&sessions)));
        let events = registration.events_for(gateway).unwrap_or_default();
        let (webhook_url, events) = (registration.shown_url(), events.join(", "));
        self.below(&format!("to {webhook_url}, events {events}"));
        let secret = match settings.has_secret_of(sources) {
            None => "without a secret",
            Some(true) => "with a secret that a source has",
            Some(false) => "with a secret that no source has: what it sends would be refused",
        };
        match &*joined(gateway.header_names()) {
            "" => self.below(secret),
            headers => self.below(&format!("{secret}, headers {headers}")),
        }
        for warning in registration.warnings(gateway) {
            self.below(&warning);
        }
    }

    fn limits(&mut self, server: &ServerSettings) {
        let bytes = |bytes: usize| ByteSize::b(bytes as u64).display().iec();
        let (body, in_flight) = (bytes(server.max_body), bytes(server.max_in_flight));
        let bodies = format!("a body {body}, all bodies at once {in_flight}");
        self.entry("limits", &bodies);
        let workers = match server.workers {
            0 => "one worker a core".to_owned(),
            workers => counted(workers as u64, "worker"),
        };
        let connections = server.max_connections;
        self.below(&format!("{connections} connections, {workers}"));
        let request = format_duration(server.request_timeout);
        let idle = format_duration(server.keep_alive);
        self.below(&format!("a request {request}, an idle connection {idle}"));
    }
}

fn joined<'a>(texts: impl IntoIterator<Item = &'a str>) -> String {
    texts.into_iter().collect::<Vec<_>>().join(", ")
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

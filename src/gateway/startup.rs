//! [`GatewaySettings`]: one of `[[gateways]]`, where our public URL is registered when the server starts.
//!
//! It works in the background while the server receives, so a gateway that is down delays nothing. Each
//! session is tried until the gateway accepts it, gives an answer that will not change, or the attempts
//! are used up; each outcome is one line in the log. The registration stays when the server stops.

use futures_util::StreamExt as _;
use futures_util::stream;
use log::Level;

use super::{Answer, Gateway, GatewayClient, Registration, Verdict};
use crate::{Retry, escape_controls};

/// A gateway to register at.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct GatewaySettings {
    /// Its name in logs. Default: its host.
    pub name: String,
    /// Its address, its kind, and what authorizes us.
    pub gateway: Gateway,
    /// The sessions to register, at least one. A kind [without sessions](crate::gateway::Kind::has_sessions) ignores
    /// them.
    pub sessions: Vec<String>,
    /// What the gateway is told.
    pub registration: Registration,
}

impl GatewaySettings {
    /// Registers `sessions` at `gateway`. Its name is the gateway's host.
    pub fn new(
        gateway: Gateway,
        sessions: impl IntoIterator<Item = impl Into<String>>,
        registration: Registration,
    ) -> Self {
        Self {
            name: gateway.host().to_owned(),
            gateway,
            sessions: sessions.into_iter().map(Into::into).collect(),
            registration,
        }
    }

    /// Registers all sessions, and tries again at the pauses of `retry`.
    pub(crate) async fn register(self, retry: Retry) {
        for warning in self.registration.warnings(&self.gateway) {
            log::warn!("gateway {}: {warning}", self.name);
        }
        let client = match GatewayClient::new(self.gateway.clone()) {
            Ok(client) => client,
            Err(error) => {
                log::error!("gateway {}: no session is registered: {error}", self.name);
                return;
            }
        };
        let mut waiting = if self.gateway.kind().has_sessions() {
            self.sessions.clone()
        } else {
            vec![String::new()]
        };
        for attempt in 1..=retry.attempts {
            let last = attempt == retry.attempts;
            // Several sessions at the same time, because a slow gateway would otherwise cost one timeout
            // per session.
            let sessions = waiting.into_iter();
            let attempts = sessions.map(|id| self.attempt(&client, id, attempt, last));
            let left = stream::iter(attempts).buffer_unordered(AT_ONCE);
            waiting = left.filter_map(std::future::ready).collect().await;
            if waiting.is_empty() {
                return;
            }
            let pause = retry.pause(attempt, fastrand::f64());
            log::debug!("gateway {}: {} more in {pause:?}", self.name, waiting.len());
            tokio::time::sleep(pause).await;
        }
    }

    /// Registers one session. Logs when the attempts begin to fail, and when they end. Returns the
    /// session if it is tried again.
    async fn attempt(
        &self,
        client: &GatewayClient,
        session: String,
        attempt: u32,
        last: bool,
    ) -> Option<String> {
        let (name, id) = (&self.name, escape_controls(&session));
        let what = match &*id {
            "" => format!("gateway {name}: our URL is"),
            id => format!("gateway {name}: session {id} is"),
        };
        let answered = match client.register(&session, &self.registration) {
            Ok(call) => call.send().await.map_err(|error| (error.to_string(), true)),
            Err(error) => Err((error.to_string(), false)),
        };
        let (why, may_change) = match answered {
            Ok(answer) if answer.accepted() => {
                let url = self.registration.shown_url();
                let already = if answer.unchanged { " already" } else { "" };
                log::info!("{what} registered{already} for {url} ({})", answer.status);
                return None;
            }
            Ok(answer) => (format!("it answered {answer}"), self.may_change(&answer)),
            Err(unanswered) => unanswered,
        };
        let why = escape_controls(&why);
        if last || !may_change {
            log::error!(
                "{what} not registered, given up after attempt {attempt}: {why}. `offhook gateway \
                 register` shows more"
            );
            return None;
        }
        let level = match attempt {
            1 => Level::Warn,
            _ => Level::Debug,
        };
        log::log!(level, "{what} not registered yet, trying again: {why}");
        Some(session)
    }

    /// Whether a gateway that was not satisfied may be later. Meta asks our URL before it answers, and a proxy may not
    /// lead here yet.
    fn may_change(&self, answer: &Answer) -> bool {
        let is_asked = self.gateway.kind().takes_verify_token();
        let is_refused = answer.verdict == Verdict::NotUnderstood;
        answer.verdict.may_change() || (is_asked && is_refused)
    }
}

const AT_ONCE: usize = 8;

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::net::{SocketAddr, TcpListener};
    use std::thread;
    use std::time::Duration;

    use super::*;

    const QUICK: Retry = Retry {
        first: Duration::from_millis(1),
        factor: 1.0,
        max: Duration::from_millis(1),
        attempts: 3,
        jitter: 0.0,
    };

    /// Registers the sessions `a` and `b`, and returns the session of each request.
    /// `answer` returns the status of the answer to the n-th request for a session.
    async fn asked(answer: fn(&str, usize) -> u16) -> Vec<String> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let gateway = thread::spawn(move || serve(&listener, answer));
        let registration = Registration::new("http://127.0.0.1/webhook").unwrap();
        let server = Gateway::new(&format!("http://{address}")).unwrap();
        let settings = GatewaySettings::new(server, ["a", "b"], registration);
        settings.register(QUICK).await;
        end(address);
        let mut sessions = gateway.join().unwrap();
        sessions.sort();
        sessions
    }

    fn serve(listener: &TcpListener, answer: fn(&str, usize) -> u16) -> Vec<String> {
        let mut asked: Vec<String> = Vec::new();
        loop {
            let mut stream = BufReader::new(listener.accept().unwrap().0);
            let mut head = String::new();
            while stream.read_line(&mut head).unwrap() > 2 {}
            let Some(path) = head.split(' ').nth(1).filter(|path| *path != "/end") else {
                return asked;
            };
            let session = path.split('/').nth(2).unwrap().to_owned();
            asked.push(session.clone());
            let times = asked.iter().filter(|one| **one == session).count();
            let status = answer(&session, times);
            let head = format!("HTTP/1.1 {status} X\r\nContent-Length: 2\r\n");
            let text = format!("{head}Connection: close\r\n\r\n{{}}");
            stream.get_mut().write_all(text.as_bytes()).unwrap();
        }
    }

    fn end(address: SocketAddr) {
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        stream.write_all(b"GET /end HTTP/1.1\r\n\r\n").unwrap();
    }

    #[actix_web::test]
    async fn a_session_is_tried_until_it_is_registered() {
        let once_each = asked(|_, _| 200).await;
        assert_eq!(once_each, ["a", "b"]);
        let one_later = asked(|session, times| match (session, times) {
            ("a", 1 | 2) => 503,
            _ => 201,
        });
        assert_eq!(one_later.await, ["a", "a", "a", "b"]);
    }

    #[actix_web::test]
    async fn attempts_have_an_end() {
        let never = asked(|session, _| if session == "a" { 500 } else { 401 });
        assert_eq!(never.await, ["a", "a", "a", "b"], "a 401 does not change");
    }
}

//! [`Registrar`]: registers our public URL for the sessions of `[[gateways]]` when a server starts.
//!
//! It works beside the server, which receives meanwhile: a gateway that is down delays nobody. Each
//! session is tried until the gateway says yes, says a no that will not change, or the attempts are
//! used up; each end is one line in the log. A registration is not taken away when the server stops.

use futures_util::StreamExt as _;
use futures_util::stream;
use tokio::task::JoinSet;

use super::{Gateway, GatewayClient, GatewayError, Registration};
use crate::Retry;
use crate::escape_controls;

/// What one gateway is told, for which sessions.
#[derive(Debug, Clone)]
pub(crate) struct Registrar {
    pub(crate) name: String,
    pub(crate) gateway: Gateway,
    pub(crate) registration: Registration,
    pub(crate) sessions: Vec<String>,
}

/// How one attempt ended.
enum Attempt {
    Accepted(u16),
    /// Why, and whether that may change.
    Failed(String, bool),
}

impl Registrar {
    /// Begins with each of them. Dropping the set ends them.
    pub(crate) fn start(registrars: Vec<Self>, retry: Retry) -> JoinSet<()> {
        let mut running = JoinSet::new();
        for registrar in registrars {
            running.spawn(async move { registrar.run(retry).await });
        }
        running
    }

    async fn run(self, retry: Retry) {
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
        let mut waiting = self.sessions.clone();
        for attempt in 1..=retry.attempts {
            let last = attempt == retry.attempts;
            let pause = retry.pause(attempt, fastrand::f64());
            // A few at once: a gateway that answers slowly must not take a timeout for each session.
            let (registrar, client) = (&self, &client);
            let round = stream::iter(waiting).map(|session| async move {
                let outcome = registrar.attempt(client, &session).await;
                registrar.tell(&session, &outcome, attempt, last);
                let again = matches!(outcome, Ok(Attempt::Failed(_, true)));
                again.then_some(session)
            });
            let left = round.buffer_unordered(AT_ONCE);
            waiting = left.filter_map(std::future::ready).collect().await;
            if waiting.is_empty() || last {
                return;
            }
            log::debug!("gateway {}: {} more in {pause:?}", self.name, waiting.len());
            tokio::time::sleep(pause).await;
        }
    }

    async fn attempt(
        &self,
        client: &GatewayClient,
        session: &str,
    ) -> Result<Attempt, GatewayError> {
        let call = client.register(session, &self.registration)?;
        Ok(match call.send().await {
            Ok(answer) if answer.accepted() => Attempt::Accepted(answer.status()),
            Ok(answer) => Attempt::Failed(
                format!("it answered {answer}"),
                answer.verdict().may_change(),
            ),
            Err(unanswered) => Attempt::Failed(unanswered.to_string(), true),
        })
    }

    /// One line when it begins to fail, and one when it ends.
    fn tell(
        &self,
        session: &str,
        outcome: &Result<Attempt, GatewayError>,
        attempt: u32,
        last: bool,
    ) {
        let gateway = &self.name;
        let url = self.registration.shown_url();
        let session = escape_controls(session);
        match outcome {
            Ok(Attempt::Accepted(status)) => log::info!(
                "gateway {gateway}: session {session} is registered for {url} ({status})"
            ),
            Ok(Attempt::Failed(why, true)) if !last => {
                let level = match attempt {
                    1 => log::Level::Warn,
                    _ => log::Level::Debug,
                };
                log::log!(
                    level,
                    "gateway {gateway}: session {session} is not registered yet, trying again: {}",
                    escape_controls(why)
                );
            }
            Ok(Attempt::Failed(why, _)) => log::error!(
                "gateway {gateway}: session {session} is not registered, given up after attempt \
                 {attempt}: {}. `offhook gateway register` shows more",
                escape_controls(why)
            ),
            Err(error) => {
                log::error!("gateway {gateway}: session {session} is not registered: {error}");
            }
        }
    }
}

const AT_ONCE: usize = 8;

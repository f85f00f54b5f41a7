//! [`Refusals`]: logs refused requests, each kind at most once a second.

use std::net::SocketAddr;

use actix_web::ResponseError as _;
use uuid::Uuid;

use super::{Refusal, RequestError};
use crate::telemetry::Throttle;

/// An address as log lines show it. A proxy says the client's without a port, which is 0 then.
pub(crate) fn shown_peer(peer: Option<SocketAddr>) -> String {
    match peer {
        None => "an unknown address".to_owned(),
        Some(peer) if peer.port() == 0 => peer.ip().to_string(),
        Some(peer) => peer.to_string(),
    }
}

/// Logs the refused requests of one source. A flood of one kind does not hide another.
#[derive(Debug, Default)]
pub(super) struct Refusals([Throttle; 6]);

impl Refusals {
    /// Says who was refused by `source`, and why. `header` names the header of the signature that is the reason,
    /// `kept` is the id of the request if it is kept. `is_lost` says that this sender never tries again.
    /// No secret, signature or body is in the line.
    pub(super) fn log(
        &self,
        source: &str,
        error: &RequestError,
        peer: Option<SocketAddr>,
        header: impl FnOnce() -> Option<String>,
        kept: Option<Uuid>,
        is_lost: bool,
    ) {
        let kind = match error {
            // A stranger that scans must not hide a sender with another secret.
            RequestError::Refused(Refusal::Missing) => 5,
            RequestError::Refused(_) => 0,
            RequestError::TooLarge { .. } => 1,
            RequestError::TooSlow => 2,
            RequestError::Broken => 3,
            RequestError::Busy => 4,
        };
        let Some(unsaid) = self.0[kind].pass() else {
            return;
        };
        let status = error.status_code().as_u16();
        let more = Throttle::more(unsaid);
        let peer = shown_peer(peer);
        let is_of_header = matches!(
            error,
            RequestError::Refused(Refusal::Missing | Refusal::Repeated | Refusal::Malformed)
        );
        let header = is_of_header.then(header).flatten();
        let header = header.map_or_else(String::new, |header| format!(" ({header})"));
        let refused = kept.map(|id| id.to_string());
        let kept = refused.as_ref().map_or_else(String::new, |id| {
            format!("; `offhook refused {id}` says more")
        });
        let (level, lost) = match error {
            // Whatever has no signature at all is more likely a stranger's.
            RequestError::Refused(Refusal::Missing) if is_lost => {
                let lost = "; if it is an event, it is lost: this sender never sends again what was refused";
                (log::Level::Warn, lost)
            }
            RequestError::Refused(_) if is_lost => {
                let lost = "; it is lost, because this sender never sends again what was refused";
                (log::Level::Error, lost)
            }
            _ => (log::Level::Warn, ""),
        };
        log::log!(
            level,
            source, peer:%, status, refused;
            "a request to {source} from {peer}: answered {status}: {error}{header}{lost}{kept}{more}"
        );
    }
}

//! [`RelayOptions`]: what holds for every subscriber.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::Serialize;

use super::guard::{Exception, Guard, Refusal};

/// What holds for every subscriber (`[relay]` in the settings).
///
/// ```
/// use std::time::Duration;
/// use offhook::relay::RelayOptions;
///
/// let options = RelayOptions {
///     timeout: Duration::from_secs(5),
///     give_up_on: [404].into(),
///     ..RelayOptions::default()
/// };
/// assert!(!options.allow_private);
/// ```
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RelayOptions {
    /// How long one attempt may take, from the connection to the answer; 10 s unless told.
    pub timeout: Duration,
    /// Whether subscribers may be at private and loopback addresses; never at link-local ones or
    /// those where a cloud keeps its machines' credentials. Not, unless told.
    pub allow_private: bool,
    /// Addresses and hosts that are allowed whatever else is said; none unless told.
    pub allow: Vec<Exception>,
    /// Statuses that are final: the event goes to the dead letters at once. None unless told.
    pub give_up_on: BTreeSet<u16>,
}

impl Default for RelayOptions {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(10),
            allow_private: false,
            allow: Vec::new(),
            give_up_on: BTreeSet::new(),
        }
    }
}

impl RelayOptions {
    /// Who says where requests may go.
    pub(crate) fn guard(&self) -> Guard {
        Guard::new(self.allow_private, self.allow.clone())
    }
}

/// Why there can be no relay.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RelayError {
    /// Nothing is sent to this URL.
    #[error(transparent)]
    Url(#[from] Refusal),
    /// The HTTP client cannot be set up.
    #[error("the relay's HTTP client cannot be set up: {problem}")]
    Client {
        /// What is wrong.
        problem: String,
    },
}

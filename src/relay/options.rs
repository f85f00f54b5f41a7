//! [`RelayOptions`]: the options for every subscriber.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::Serialize;

use super::guard::{Exception, Guard, RejectedAddress};

/// The options for every subscriber (`[relay]` in the settings).
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
    /// How long one attempt may take, from the connection to the answer. Default: 10 s.
    pub timeout: Duration,
    /// Whether subscribers may be at private and loopback addresses. Link-local addresses, and those
    /// where a cloud keeps its machines' credentials, stay closed. Default: false.
    pub allow_private: bool,
    /// Addresses and hosts that are always allowed. Default: none.
    pub allow: Vec<Exception>,
    /// Statuses that are final: the event becomes a dead letter immediately. Default: none.
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
    /// Decides where requests may go.
    pub(crate) fn guard(&self) -> Guard {
        Guard::new(self.allow_private, self.allow.clone())
    }
}

/// Why a relay cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RelayError {
    /// The URL may not be posted to.
    #[error(transparent)]
    Url(#[from] RejectedAddress),
    /// The HTTP client cannot be set up.
    #[error("the relay's HTTP client cannot be set up: {problem}")]
    Client {
        /// What is wrong.
        problem: String,
    },
}

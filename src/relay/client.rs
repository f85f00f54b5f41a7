//! [`RelayClient`]: one HTTP client for all subscribers.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use reqwest::redirect::Policy;

use super::guard::Guard;
use super::{RelayError, RelayOptions};
use crate::clock::{Clock, SystemClock};

/// One HTTP client for all subscribers; its clones share its connections.
#[derive(Debug, Clone)]
pub(crate) struct RelayClient {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    http: reqwest::Client,
    guard: Guard,
    give_up_on: BTreeSet<u16>,
    timeout: Duration,
    clock: Arc<dyn Clock>,
}

impl RelayClient {
    /// A client without connections yet, which takes the time from the system's clock.
    pub(crate) fn new(options: &RelayOptions) -> Result<Self, RelayError> {
        Self::with_clock(options, Arc::new(SystemClock))
    }

    pub(crate) fn with_clock(
        options: &RelayOptions,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, RelayError> {
        let guard = Guard::new(options.allow_private, options.allow.clone());
        let http = http(&guard, options.timeout)?;
        Ok(Self {
            shared: Arc::new(Shared {
                http,
                guard,
                give_up_on: options.give_up_on.clone(),
                timeout: options.timeout,
                clock,
            }),
        })
    }

    /// Who says where requests may go.
    pub(crate) fn guard(&self) -> &Guard {
        &self.shared.guard
    }
}

fn http(guard: &Guard, timeout: Duration) -> Result<reqwest::Client, RelayError> {
    // Where another part of the process has set one already, that one is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = reqwest::Client::builder()
        .no_proxy()
        .redirect(Policy::none())
        .dns_resolver(guard.resolver())
        .timeout(timeout);
    builder.build().map_err(RelayError::Client)
}

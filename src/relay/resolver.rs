//! [`GuardedResolver`]: resolves a host for the HTTP client, and fails when one of its addresses is
//! rejected.
//!
//! The client connects to the addresses that come from here, so a name that changes its address after
//! registration is judged again for each connection.

use std::net::SocketAddr;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use hyper_util::client::legacy::connect::dns::Name;
use tower_service::Service;

use super::guard::{Guard, RejectedAddress};

/// Resolves hosts to addresses that may be posted to.
#[derive(Debug, Clone)]
pub(super) struct GuardedResolver {
    guard: Guard,
}

impl GuardedResolver {
    pub(super) fn new(guard: Guard) -> Self {
        Self { guard }
    }
}

impl Service<Name> for GuardedResolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = RejectedAddress;
    type Future = BoxFuture<'static, Result<Self::Response, RejectedAddress>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), RejectedAddress>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let guard = self.guard.clone();
        Box::pin(async move {
            let addresses = guard.resolve(name.as_str()).await?;
            // The client replaces port 0 by the URL's port.
            let addresses = addresses.into_iter().map(|ip| SocketAddr::new(ip, 0));
            Ok(addresses.collect::<Vec<_>>().into_iter())
        })
    }
}

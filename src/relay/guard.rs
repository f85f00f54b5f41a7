//! [`Guard`]: where requests may go. To be replaced by the real one.

use std::net::SocketAddr;
use std::sync::Arc;

use url::Url;

/// An address or a host that is allowed whatever else is said.
#[derive(Debug, Clone)]
pub struct Exception(#[allow(dead_code)] String);

impl std::str::FromStr for Exception {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        Ok(Self(text.to_owned()))
    }
}

/// Why nothing is sent there.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct Refusal(String);

/// Says where requests may go.
#[derive(Debug, Clone)]
pub(crate) struct Guard;

impl Guard {
    pub(crate) fn new(_: bool, _: Vec<Exception>) -> Self {
        Self
    }

    pub(crate) fn url(&self, text: &str) -> Result<Url, Refusal> {
        Url::parse(text).map_err(|error| Refusal(error.to_string()))
    }

    #[allow(clippy::unused_async)]
    pub(crate) async fn vet(&self, _: &Url) -> Result<Vec<SocketAddr>, Refusal> {
        Ok(Vec::new())
    }

    pub(crate) fn resolver(&self) -> Arc<impl reqwest::dns::Resolve + 'static> {
        Arc::new(System)
    }
}

struct System;

impl reqwest::dns::Resolve for System {
    fn resolve(&self, name: reqwest::dns::Name) -> reqwest::dns::Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let found: Vec<SocketAddr> = found.collect();
            Ok(Box::new(found.into_iter()) as reqwest::dns::Addrs)
        })
    }
}

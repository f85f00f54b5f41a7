//! [`Trust`]: whom the commands trust when they speak TLS.

use std::path::PathBuf;

use clap::Args;
use offhook::http_client::HttpClient;
use url::Url;

/// The option `--ca`.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct Trust {
    /// A PEM file with authorities to trust besides those of the system, for a server with https
    #[arg(long, value_name = "FILE", env = "OFFHOOK_CA", global = true)]
    ca: Option<PathBuf>,
}

impl Trust {
    /// A client for `url`, which keeps up to `idle` connections open. An error is a short text.
    pub(super) fn client(&self, url: &Url, idle: usize) -> Result<HttpClient, String> {
        HttpClient::trusting(url, idle, self.ca.as_deref())
    }
}

//! [`Trust`]: the authorities that commands trust when they speak TLS, and how commands prove themselves.

use std::path::{Path, PathBuf};

use clap::Args;
use offhook::http_client::{HttpClient, Trusting};
use url::Url;

/// The options of TLS.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct Trust {
    /// A PEM file with certificates to trust besides those of the system, for a server with https
    #[arg(long, value_name = "FILE", env = "OFFHOOK_CA", global = true)]
    ca: Option<PathBuf>,

    /// A PEM file with a certificate for a server that asks for one (client_ca)
    #[arg(
        long,
        value_name = "FILE",
        env = "OFFHOOK_CLIENT_CERTIFICATE",
        global = true
    )]
    client_certificate: Option<PathBuf>,

    /// A PEM file with the key of --client-certificate [default: the same file]
    #[arg(long, value_name = "FILE", env = "OFFHOOK_CLIENT_KEY", global = true)]
    client_key: Option<PathBuf>,
}

impl Trust {
    /// A client for `url`, which keeps up to `idle` connections open. If `url` is from settings that name the
    /// certificate of the server in a file, `server` is that file. An error is a short text.
    pub(super) fn client(
        &self,
        url: &Url,
        idle: usize,
        server: Option<&Path>,
    ) -> Result<HttpClient, String> {
        let certificate = self.client_certificate.as_deref();
        let trusting = Trusting {
            authorities: self.ca.as_deref(),
            server,
            identity: certificate.map(|path| (path, self.client_key.as_deref().unwrap_or(path))),
        };
        HttpClient::trusting(url, idle, &trusting)
    }
}

//! [`AdminAddress`]: where the admin listener of the running server is, and its token.

use clap::Args;
use offhook::signature::Secret;
use url::Url;

use super::client::http_url;
use super::invocation;
use super::output::Failure;
use super::settings_file::{Known, SettingsFile};

/// The options that say where the admin listener is.
#[derive(Debug, Args)]
pub(super) struct AdminAddress {
    /// The admin listener of the running server; default: the one in the settings, or
    /// http://127.0.0.1:5001
    #[arg(long, value_name = "URL", env = "OFFHOOK_ADMIN", value_parser = admin_url)]
    #[arg(global = true)]
    admin: Option<Url>,

    #[command(flatten)]
    file: SettingsFile,
}

/// Where to ask.
#[derive(Debug)]
pub(super) struct AdminListener {
    pub(super) url: Url,
    /// What says that it is there.
    origin: Origin,
    /// The settings that were read, and the token in them.
    known: Option<Known>,
}

#[derive(Debug)]
enum Origin {
    Given,
    Settings(String),
    Default,
}

fn admin_url(text: &str) -> Result<Url, String> {
    let url = http_url(text, DEFAULT)?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(format!(
            "expected a URL such as {DEFAULT}; a token is given with --token"
        ));
    }
    Ok(url)
}

impl AdminAddress {
    /// Reads in the settings what the options do not say.
    pub(super) fn find(&self) -> Result<AdminListener, Failure> {
        if let Some(url) = &self.admin {
            // The token of a file is only for the server that the file is about.
            let known = self.file.is_named().then(|| self.file.known());
            return Ok(AdminListener {
                url: url.clone(),
                origin: Origin::Given,
                known: known.transpose()?.flatten(),
            });
        }
        let known = self.file.known()?;
        let (text, origin) = match &known {
            None => (DEFAULT.to_owned(), Origin::Default),
            Some(known) => {
                let bind = known.settings.admin.clone().unwrap_or_default().bind;
                let address = known.address("admin.bind", bind, GIVE_ADMIN)?;
                let origin = Origin::Settings(known.file.clone());
                (format!("http://{address}"), origin)
            }
        };
        let url = Url::parse(&text).map_err(Failure::failed)?;
        Ok(AdminListener { url, origin, known })
    }
}

impl AdminListener {
    /// The token in the settings, if they were read and have one.
    pub(super) fn token(&self) -> Result<Option<Secret>, Failure> {
        let Some(known) = &self.known else {
            return Ok(None);
        };
        known.check("admin.token", GIVE_TOKEN)?;
        let admin = known.settings.admin.as_ref();
        Ok(admin.and_then(|admin| admin.token.clone()))
    }

    /// The URL as messages show it.
    pub(super) fn shown(&self) -> &str {
        self.url.as_str().trim_end_matches('/')
    }

    /// What to do if it cannot be reached.
    pub(super) fn advice(&self) -> String {
        let serve = invocation();
        let origin = match &self.origin {
            Origin::Given => {
                "That is the address given with --admin or in OFFHOOK_ADMIN".to_owned()
            }
            Origin::Settings(file) => format!("That is admin.bind in {file}"),
            Origin::Default => {
                "That is the default address, as there is no settings.toml in this folder"
                    .to_owned()
            }
        };
        let elsewhere = match &self.origin {
            Origin::Given => "",
            _ => {
                " For another server give the file of its settings with --settings, or its address \
                  with --admin."
            }
        };
        format!("Is offhook running? {origin}. `{serve} serve` starts a server.{elsewhere}")
    }
}

const DEFAULT: &str = "http://127.0.0.1:5001";

const GIVE_ADMIN: &str = "Give the address of the admin listener with --admin or in OFFHOOK_ADMIN.";

const GIVE_TOKEN: &str = "Give the admin token with --token or in OFFHOOK_ADMIN_TOKEN.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_urls_without_a_password() {
        for odd in ["", "localhost:5001", "ftp://x", "http://u:p@h", "/api"] {
            assert!(
                admin_url(odd)
                    .unwrap_err()
                    .contains("http://127.0.0.1:5001")
            );
        }
    }
}

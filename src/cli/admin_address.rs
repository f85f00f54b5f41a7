//! [`AdminAddress`]: where the admin listener of the running server is, and its token.

use std::fmt::Display;
use std::path::Path;

use clap::Args;
use offhook::signature::Secret;
use url::Url;

use super::client::http_url;
use super::invocation;
use super::output::Failure;
use super::settings_file::{Known, SettingsFile, scheme};
use super::trust::Trust;

/// The options that say where the admin listener is.
#[derive(Debug, Args)]
pub(super) struct AdminAddress {
    /// The admin listener of the running server; default: the one in the file of --settings, in
    /// OFFHOOK_ADMIN, in ./settings.toml, or http://127.0.0.1:5001
    #[arg(long, value_name = "URL", value_parser = admin_url, global = true)]
    admin: Option<Url>,

    #[command(flatten)]
    file: SettingsFile,

    #[command(flatten)]
    pub(super) trust: Trust,
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
    /// Reads in the settings what the options do not say. What the command line names wins over variables, and the
    /// token in a file is only for the address in the same file.
    pub(super) fn find(&self) -> Result<AdminListener, Failure> {
        let given = match &self.admin {
            Some(url) => Some(url.clone()),
            None if self.file.is_named() => None,
            None => from_variable(ADDRESS, admin_url)?,
        };
        if let Some(url) = given {
            return Ok(AdminListener {
                url,
                origin: Origin::Given,
                known: None,
            });
        }
        let known = self.file.known()?;
        let (text, origin) = match &known {
            None => (DEFAULT.to_owned(), Origin::Default),
            Some(known) => {
                let admin = known.settings.admin.clone().unwrap_or_default();
                let address = known.address("admin.bind", admin.bind, GIVE_ADMIN)?;
                let origin = Origin::Settings(known.file.clone());
                (
                    format!("{}://{address}", scheme(admin.tls.as_ref())),
                    origin,
                )
            }
        };
        let url = Url::parse(&text).map_err(Failure::failed)?;
        Ok(AdminListener { url, origin, known })
    }

    /// The token that no option gives: of the file that the command line names, of the variable, or of
    /// ./settings.toml.
    pub(super) fn token(&self, listener: &AdminListener) -> Result<Option<Secret>, Failure> {
        let in_file = listener.token();
        if self.file.is_named() && matches!(in_file, Ok(Some(_))) {
            return in_file;
        }
        match from_variable(TOKEN, Secret::resolve)? {
            Some(token) => Ok(Some(token)),
            None => in_file,
        }
    }
}

/// What a variable says, where it is set.
fn from_variable<T, E: Display>(
    name: &str,
    read: impl FnOnce(&str) -> Result<T, E>,
) -> Result<Option<T>, Failure> {
    let Some(text) = std::env::var_os(name) else {
        return Ok(None);
    };
    let text = text.to_str().ok_or_else(|| "it is no text".to_owned());
    let value = text.and_then(|text| read(text).map_err(|error| error.to_string()));
    value
        .map(Some)
        .map_err(|error| Failure::usage(format!("{name} in the environment: {error}")))
}

impl AdminListener {
    /// The token in the settings, if they were read and have one.
    fn token(&self) -> Result<Option<Secret>, Failure> {
        let Some(known) = &self.known else {
            return Ok(None);
        };
        known.check("admin.token", GIVE_TOKEN)?;
        let admin = known.settings.admin.as_ref();
        Ok(admin.and_then(|admin| admin.token.clone()))
    }

    /// The file of the listener's certificate, if the settings say where the listener is.
    pub(super) fn certificate(&self) -> Option<&Path> {
        let admin = self.known.as_ref()?.settings.admin.as_ref()?;
        Some(&admin.tls.as_ref()?.certificate)
    }

    /// Whether the settings say where the listener is. The server may not have taken their last change yet.
    pub(super) fn is_from_settings(&self) -> bool {
        self.known.is_some()
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
            Origin::Settings(file) => format!(
                "That is admin.bind in {file}; if it was changed, the server is still at the address of its start"
            ),
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

const ADDRESS: &str = "OFFHOOK_ADMIN";
const TOKEN: &str = "OFFHOOK_ADMIN_TOKEN";

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

//! The files that settings are read from: the settings file, and those that it names for secrets and
//! certificates.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use config::{Config, File, FileFormat, ValueKind};

use super::Settings;
use super::load::MAX_FILE;
use crate::signature::read_regular;

impl Settings {
    /// The settings file and the files that it names. Whether they exist, or the settings are valid, makes no
    /// difference.
    pub(crate) fn files(path: &Path) -> BTreeSet<PathBuf> {
        let mut files = BTreeSet::from([path.to_owned()]);
        let text = read_regular(path, MAX_FILE).map(String::from_utf8);
        let text = text.ok().and_then(Result::ok).unwrap_or_default();
        let file = File::from_str(&text, FileFormat::Toml);
        if let Ok(read) = Config::builder().add_source(file).build() {
            add(&read.cache.kind, "", &mut files);
        }
        for (name, value) in std::env::vars_os() {
            // Others need not be text.
            if name.as_encoded_bytes().starts_with(b"OFFHOOK__")
                && let Ok(value) = value.into_string()
            {
                add(&ValueKind::String(value), "", &mut files);
            }
        }
        files
    }

    /// Reads a text without the environment.
    #[cfg(test)]
    pub(crate) fn of_text(text: &str) -> Result<Self, super::Problems> {
        Self::with_admin().read(text, "settings.toml", std::iter::empty())
    }
}

/// Adds the files that a value names, which `key` has.
fn add(value: &ValueKind, key: &str, files: &mut BTreeSet<PathBuf>) {
    match value {
        ValueKind::String(text) => {
            // A header may hold a word before it: `Bearer file:/run/secrets/token`.
            let named = text.rsplit(' ').next().unwrap_or_default();
            if let Some(path) = text.strip_prefix(FILE).or(named.strip_prefix(FILE)) {
                files.insert(path.into());
            } else if OF_TLS.contains(&key) {
                files.insert(text.into());
            }
        }
        ValueKind::Array(items) => items.iter().for_each(|item| add(&item.kind, "", files)),
        ValueKind::Table(table) => {
            for (key, value) in table {
                add(&value.kind, key, files);
            }
        }
        _ => {}
    }
}

const FILE: &str = "file:";

/// The keys of a `tls` that name files.
const OF_TLS: [&str; 4] = ["certificate", "key", "client_ca", "ca"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_named_file_is_found() {
        let folder = std::env::temp_dir().join(format!("offhook-files-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("settings.toml");
        let text = r#"
            [server.tls]
            certificate = "/tls/cert.pem"
            key = "/tls/key.pem"
            [admin]
            token = "file:/secrets/admin token"
            [[sources]]
            name = "s"
            secrets = ["env:NO", "file:/secrets/one", "plain"]
            sessions."a".secrets = ["file:relative"]
            unknown = 5
            [[gateways]]
            headers = { Authorization = "Bearer file:/secrets/gateway" }
        "#;
        std::fs::write(&path, text).unwrap();
        let found = Settings::files(&path);
        std::fs::remove_dir_all(&folder).unwrap();
        let expected = [
            "/secrets/admin token",
            "/secrets/gateway",
            "/secrets/one",
            "/tls/cert.pem",
            "/tls/key.pem",
            "relative",
        ];
        let expected = expected.map(PathBuf::from);
        let expected: BTreeSet<_> = expected.into_iter().chain([path]).collect();
        assert_eq!(found, expected);
        let none = Path::new("/no/such/file.toml");
        assert_eq!(Settings::files(none), BTreeSet::from([none.to_owned()]));
    }
}

//! [`SettingsFile`]: the option `--settings`, and what commands read in that file.
//!
//! A server needs valid settings. A command that asks a running server needs only a part of them, so a
//! problem elsewhere, such as a secret that only the server's environment has, is not its problem.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use clap::Args;
use offhook::settings::{Problem, Problems, Settings, TlsSettings};

use super::invocation;
use super::output::{Failure, counted, note};

/// The path of the settings, for every command.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct SettingsFile {
    /// The settings file; OFFHOOK__SECTION__KEY in the environment overrides its keys [default:
    /// settings.toml]
    #[arg(long, value_name = "FILE", global = true)]
    settings: Option<PathBuf>,
}

impl SettingsFile {
    /// The file at this path.
    pub(super) fn at(path: PathBuf) -> Self {
        Self {
            settings: Some(path),
        }
    }

    pub(super) fn path(&self) -> &Path {
        self.settings.as_deref().unwrap_or(Path::new(DEFAULT))
    }

    /// Whether the command line names it.
    pub(super) fn is_named(&self) -> bool {
        self.settings.is_some()
    }

    /// Loads valid settings. If they are invalid, prints every problem and `consequence` to standard
    /// error.
    pub(super) fn load(&self, consequence: &str) -> Result<Settings, Failure> {
        let path = self.path();
        Settings::load(path).map_err(|problems| {
            let is_missing = matches!(path.try_exists(), Ok(false));
            let hint = format!("; `{} init` writes a settings.toml", invocation());
            let hint = if is_missing { &hint } else { "" };
            told(&problems, &format!("{consequence}{hint}"))
        })
    }

    /// What the settings of a running server say; `None` if the command line names no file, and there is
    /// none in this folder.
    pub(super) fn known(&self) -> Result<Option<Known>, Failure> {
        let path = self.path();
        if !self.is_named() && matches!(path.try_exists(), Ok(false)) {
            return Ok(None);
        }
        match Settings::load_with_problems(path) {
            Ok((settings, problems)) => Ok(Some(Known {
                file: path.display().to_string(),
                settings,
                problems,
            })),
            Err(problems) => Err(told(&problems, "the server was not asked")),
        }
    }
}

fn told(problems: &Problems, consequence: &str) -> Failure {
    let problems = problems.list();
    for problem in problems {
        note(problem.to_string().trim_end());
    }
    let counted = counted(problems.len() as u64, "problem");
    Failure::failed(format!("{counted} in the settings; {consequence}"))
}

/// The settings of a running server, which may have problems.
#[derive(Debug)]
pub(super) struct Known {
    /// The path of the file, as messages show it.
    pub(super) file: String,
    pub(super) settings: Settings,
    problems: Vec<Problem>,
}

impl Known {
    /// Fails if there is a problem with `keys` or what is below them. `instead` says how the command can
    /// do without them.
    pub(super) fn check(&self, keys: &str, instead: &str) -> Result<(), Failure> {
        let below = |one: &Problem| {
            let rest = one.keys.strip_prefix(keys);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        };
        match self.problems.iter().find(|one| below(one)) {
            None => Ok(()),
            Some(problem) => Err(Failure::failed(format!("{problem}\n{instead}"))),
        }
    }

    /// The address under which this machine reaches the listener that `keys` binds to `bind`.
    pub(super) fn address(
        &self,
        keys: &str,
        bind: SocketAddr,
        instead: &str,
    ) -> Result<SocketAddr, Failure> {
        self.check(keys, instead)?;
        if bind.port() == 0 {
            let file = &self.file;
            return Err(Failure::failed(format!(
                "{file}: {keys}: port 0 is any free port, so the port is not known\n{instead}"
            )));
        }
        Ok(reachable(bind))
    }
}

/// An address to send to: a server that listens everywhere can be reached on this machine.
pub(super) fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// How URLs of a listener begin.
pub(super) fn scheme(tls: Option<&TlsSettings>) -> &'static str {
    if tls.is_some() { "https" } else { "http" }
}

const DEFAULT: &str = "settings.toml";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcard_addresses_become_loopback() {
        let table = [
            ("0.0.0.0:5001", "127.0.0.1:5001"),
            ("[::]:5001", "[::1]:5001"),
            ("10.1.2.3:5001", "10.1.2.3:5001"),
            ("[fd00::1]:80", "[fd00::1]:80"),
        ];
        for (bind, expected) in table {
            assert_eq!(reachable(bind.parse().unwrap()).to_string(), expected);
        }
    }

    #[test]
    fn only_problems_below_the_keys_count() {
        let problem = |keys: &str| {
            let mut problem = Settings::load("/no/such/file").unwrap_err().list()[0].clone();
            problem.keys = keys.to_owned();
            problem
        };
        let known = Known {
            file: "f".to_owned(),
            settings: Settings::default(),
            problems: vec![problem("admin.token"), problem("sources[1].secrets[0]")],
        };
        for keys in ["admin.token", "admin", "sources[1]", "sources[1].secrets"] {
            assert!(known.check(keys, "").is_err(), "{keys}");
        }
        for keys in ["admin.bind", "adm", "sources[10]", "sources[0]", "server"] {
            assert!(known.check(keys, "").is_ok(), "{keys}");
        }
    }
}

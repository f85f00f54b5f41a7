//! `offhook init`: writes a settings.toml that starts as it is.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use clap::Args;
use offhook::signature::Encoding;

use super::output::{self, Failure, Outcome, Verdict, title};
use super::settings_file::SettingsFile;
use super::{invocation, quoted};

/// Write a commented settings.toml that starts as it is
///
/// It has every key with its default, one source with a secret that was made for it, and a handler that
/// prints what comes. Only the user who runs this may read the file. An existing file is never changed.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Init {
    /// The folder for the file; it is made if there is none
    #[arg(default_value = ".", value_name = "DIR")]
    folder: PathBuf,
}

impl Init {
    pub(super) fn run(self, named: &SettingsFile) -> Outcome {
        if named.is_named() {
            return Err(Failure::usage(
                "--settings: init writes settings.toml in a folder; name the folder: offhook init DIR",
            ));
        }
        let mut secret = [0; SECRET_BYTES];
        getrandom::fill(&mut secret)
            .map_err(|error| Failure::failed(format!("random numbers: {error}")))?;
        let settings = settings(&Encoding::Hex.encode(&secret));
        let file = self.folder.join("settings.toml");
        let file = file.strip_prefix(".").unwrap_or(&file);
        std::fs::create_dir_all(&self.folder)
            .map_err(|error| Failure::failed(format!("{}: {error}", self.folder.display())))?;
        write(file, &settings)?;
        output::print(&format!("{} {}\n", output::good("wrote"), file.display()))?;
        output::print(&next(&self.folder))?;
        Ok(Verdict::Yes)
    }
}

/// The settings with a secret of their own in the place of the documentation's key.
fn settings(secret: &str) -> String {
    TEMPLATE.replace(
        DOCUMENTED,
        &format!("{EXPLAINED}secrets = [\"{secret}\"]\n"),
    )
}

/// Writes a new file that only its owner may read.
fn write(file: &Path, text: &str) -> Result<(), Failure> {
    let mut options = OpenOptions::new();
    let opened = options.write(true).create_new(true).mode(0o600).open(file);
    let written = opened.and_then(|mut opened| {
        let written = opened.write_all(text.as_bytes());
        // A part of a file would be in the way of the next try.
        written.inspect_err(|_| drop(std::fs::remove_file(file)))
    });
    written.map_err(|error| {
        let file = file.display();
        Failure::failed(match error.kind() {
            ErrorKind::AlreadyExists => format!(
                "{file} exists, and was not changed; name another folder, or move the file away"
            ),
            _ => format!("{file}: {error}"),
        })
    })
}

/// What to do next. The commands can be pasted.
fn next(folder: &Path) -> String {
    let (program, enter) = if folder == Path::new(".") {
        (invocation(), String::new())
    } else {
        let enter = format!("  cd {}\n", quoted(&folder.to_string_lossy()));
        (program_from_elsewhere(), enter)
    };
    let terminals = [
        "Start the server:",
        "Send it an event, from a second terminal:",
    ];
    let [start, send] = terminals.map(title);
    format!(
        "{start}\n{enter}  {program} serve\n\n{send}\n{enter}  {program} send\n\n\
         A gateway signs with the secret in the file, which is under [[sources]]. [[gateways]] in the file \
         tells it so at each start, or `offhook gateway register` once."
    )
}

/// How the user starts this program in another folder.
fn program_from_elsewhere() -> String {
    let program = invocation();
    if !program.contains(['/', ' ']) {
        return program;
    }
    let path = std::env::current_exe().map(|path| path.to_string_lossy().into_owned());
    path.map_or(program, |path| quoted(&path))
}

const TEMPLATE: &str = include_str!("../../settings.toml");

/// The lines of the template that a secret replaces.
const DOCUMENTED: &str = "\
# This one is printed in the gateway's documentation: offhook rejects it on an address open to others.
secrets = [\"your-secret-key\"]
";

/// What the file says of its own secret.
const EXPLAINED: &str = "# `offhook init` made this one for this file.\n";

/// As many as HMAC-SHA256 makes use of.
const SECRET_BYTES: usize = 32;

const EXAMPLES: &str = "\
Examples:
  offhook init
  offhook init /srv/offhook

Exit status: 0 written, 1 not (there is one already, or the folder cannot be written), 2 usage.";

#[cfg(test)]
mod tests {
    use super::*;

    /// The template may change, but its key must be found.
    #[test]
    fn the_documented_key_is_replaced() {
        assert_eq!(TEMPLATE.matches(DOCUMENTED).count(), 1);
        let settings = settings("made-for-this-test");
        assert!(settings.contains("secrets = [\"made-for-this-test\"]\n"));
        assert!(!settings.contains("your-secret-key"), "{settings}");
    }
}

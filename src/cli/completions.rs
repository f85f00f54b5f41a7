//! `offhook completions`: prints completions for a shell.

use clap::Args;
use clap_complete::Shell;

use super::output::{self, Outcome, Verdict};

/// Print completions for a shell
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Completions {
    /// Which shell
    shell: Shell,
}

impl Completions {
    pub(super) fn run(&self, command: &mut clap::Command) -> Outcome {
        // `generate` panics when it cannot write, and writing to memory cannot fail.
        let mut script = Vec::new();
        clap_complete::generate(self.shell, command, "offhook", &mut script);
        output::write(&script)?;
        Ok(Verdict::Yes)
    }
}

const EXAMPLES: &str = "\
Examples:
  offhook completions bash > ~/.local/share/bash-completion/completions/offhook
  offhook completions zsh > \"${fpath[1]}/_offhook\"
  offhook completions fish > ~/.config/fish/completions/offhook.fish";

//! `offhook man`: the manual pages, made of the same texts as `--help`.

use std::path::PathBuf;

use clap::{Args, Command, CommandFactory as _};
use clap_mangen::Man;

use super::Cli;
use super::output::{self, Failure, Outcome, Verdict};

/// Print the manual page, or write those of all commands
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct ManPages {
    /// A folder for a page of each command: offhook.1, offhook-serve.1, …
    folder: Option<PathBuf>,
}

impl ManPages {
    pub(super) fn run(self) -> Outcome {
        let mut cli = Cli::command();
        cli.build();
        let Some(folder) = self.folder else {
            output::write(&page(cli, "offhook")?)?;
            return Ok(Verdict::Yes);
        };
        let failed =
            |error: std::io::Error| Failure::failed(format!("{}: {error}", folder.display()));
        std::fs::create_dir_all(&folder).map_err(failed)?;
        for (name, command) in pages(cli) {
            let text = page(command, &name)?;
            std::fs::write(folder.join(format!("{name}.1")), text).map_err(failed)?;
        }
        Ok(Verdict::Yes)
    }
}

/// The program and each of its commands, with the names of their pages.
fn pages(cli: Command) -> Vec<(String, Command)> {
    let commands = cli.get_subcommands().filter(|one| one.get_name() != "help");
    let commands = commands.map(|one| (format!("offhook-{}", one.get_name()), one.clone()));
    let commands: Vec<_> = commands.collect();
    std::iter::once(("offhook".to_owned(), cli))
        .chain(commands)
        .collect()
}

fn page(command: Command, name: &str) -> Result<Vec<u8>, Failure> {
    let man = Man::new(command)
        .title(name)
        .manual("offhook")
        .source(concat!("offhook ", env!("CARGO_PKG_VERSION")));
    let mut text = Vec::new();
    man.render(&mut text).map_err(Failure::failed)?;
    Ok(text)
}

const EXAMPLES: &str = "\
Examples:
  offhook man | man -l -
  offhook man ~/.local/share/man/man1

Exit status: 0 printed or written, 1 cannot write, 2 usage.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_command_has_a_page() {
        let mut cli = Cli::command();
        cli.build();
        let count = cli.get_subcommands().count();
        let pages = pages(cli);
        // Without `help`.
        assert_eq!(pages.len(), count);
        for (name, command) in pages {
            let text = String::from_utf8(page(command, &name).unwrap()).unwrap();
            assert!(text.contains(&format!(".TH {name} 1")), "{name}: {text}");
            for part in [".SH NAME", ".SH SYNOPSIS", ".SH OPTIONS", "Exit status: 0"] {
                assert!(text.contains(part), "{name}: {part}");
            }
        }
    }
}

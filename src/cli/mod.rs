//! The command line: parses, calls, prints. One file per command; `completions` is here.
//!
//! Output for programs goes to standard output, everything else to standard error. The exit status is 0
//! for yes, 1 for no (an invalid signature, a failed delivery, invalid settings), and 2 if the command
//! could not run (a wrong option, an unreadable file).

mod admin;
mod admin_address;
mod body;
mod check;
mod client;
mod consumers;
mod dead;
mod delete;
mod events;
mod gateway;
mod health;
mod init;
mod input;
mod journal;
mod load;
mod man;
mod migrate;
mod output;
mod refused;
mod reload;
mod replay;
mod replays;
mod send;
mod serve;
mod settings_file;
mod sign;
mod subscriptions;
mod table;
mod tail;
mod test_event;
mod trust;
mod verify;
mod verify_durability;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Args, CommandFactory as _, Parser, Subcommand};
use clap_complete::Shell;
use tokio::runtime;
use tokio::signal::unix::{SignalKind, signal};

use output::{Outcome, Verdict};
use settings_file::SettingsFile;

/// Picks up every webhook: receives signed webhooks, hands their events to handlers, and relays them.
#[derive(Parser)]
#[command(name = "offhook", version, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,

    #[command(flatten)]
    file: SettingsFile,
}

#[derive(Subcommand)]
enum Command {
    Serve(serve::Serve),
    Init(init::Init),
    Check(check::Check),
    Send(send::Send),
    Sign(sign::Sign),
    Verify(verify::Verify),
    Events(events::Events),
    Tail(tail::Tail),
    Test(test_event::Test),
    Dead(dead::Dead),
    Replay(replay::Replay),
    Replays(replays::Replays),
    Consumers(consumers::Consumers),
    Subscriptions(subscriptions::Subscriptions),
    Refused(refused::Refused),
    Reload(reload::Reload),
    Gateway(gateway::Gateway),
    Health(health::Health),
    Journal(journal::Journal),
    Migrate(migrate::Migrate),
    VerifyDurability(verify_durability::VerifyDurability),
    Completions(Completions),
    Man(man::ManPages),
}

pub(crate) fn main() -> ExitCode {
    // Before anything that takes time: a supervisor may send SIGHUP to a server that has only just started.
    if may_serve(std::env::args_os().skip(1)) {
        survive_hangup();
    }
    match Cli::try_parse() {
        Ok(cli) => as_first_process(&cli).unwrap_or_else(|| {
            let status = output::exit(run(cli));
            offhook::logging::flush();
            status
        }),
        Err(error) => {
            // Help and version arrive here too. A closed output is not an error.
            let _ = error.print();
            ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
        }
    }
}

/// Whether the command may be `serve`. Any other command ends with its terminal.
fn may_serve(mut arguments: impl Iterator<Item = OsString>) -> bool {
    while let Some(argument) = arguments.next() {
        if argument == "--settings" {
            arguments.next();
        } else if !argument.as_encoded_bytes().starts_with(b"-") {
            return argument == "serve";
        }
    }
    true
}

/// From here on SIGHUP does not end the process. A server that has started reloads its settings then.
fn survive_hangup() {
    let runtime = runtime::Builder::new_current_thread().enable_io().build();
    // A failure is told when the server listens to its signals. The handler outlives the runtime.
    if let Ok(runtime) = runtime {
        let _inside = runtime.enter();
        let _ = signal(SignalKind::hangup());
    }
}

/// Runs `serve` as a child, where this is the first process of a container.
fn as_first_process(cli: &Cli) -> Option<ExitCode> {
    if !matches!(cli.command, None | Some(Command::Serve(_))) {
        return None;
    }
    offhook::run_as_first_process().unwrap_or_else(|error| {
        output::note(&format!(
            "this is the first process of a container, and it cannot start another: {error}; processes \
             that programs of exec leave running stay as zombies (docker run --init prevents that)"
        ));
        None
    })
}

fn run(cli: Cli) -> Outcome {
    match cli.command {
        None => serve::Serve { file: cli.file }.run(),
        Some(Command::Serve(serve)) => serve.run(),
        Some(Command::Init(init)) => init.run(&cli.file),
        Some(Command::Check(check)) => check.run(),
        Some(Command::Send(send)) => send.run(),
        Some(Command::Sign(sign)) => sign.run(),
        Some(Command::Verify(verify)) => verify.run(),
        Some(Command::Events(events)) => events.run(),
        Some(Command::Tail(tail)) => tail.run(),
        Some(Command::Test(test)) => test.run(),
        Some(Command::Dead(dead)) => dead.run(),
        Some(Command::Replay(replay)) => replay.run(),
        Some(Command::Replays(replays)) => replays.run(),
        Some(Command::Consumers(consumers)) => consumers.run(),
        Some(Command::Subscriptions(subscriptions)) => subscriptions.run(),
        Some(Command::Refused(refused)) => refused.run(),
        Some(Command::Reload(reload)) => reload.run(),
        Some(Command::Gateway(gateway)) => gateway.run(),
        Some(Command::Health(health)) => health.run(),
        Some(Command::Journal(journal)) => journal.run(),
        Some(Command::Migrate(migrate)) => migrate.run(),
        Some(Command::VerifyDurability(verify)) => verify.run(),
        Some(Command::Completions(completions)) => completions.run(),
        Some(Command::Man(man)) => man.run(),
    }
}

/// Print completions for a shell
#[derive(Args)]
#[command(after_help = COMPLETIONS_EXAMPLES)]
struct Completions {
    /// Which shell
    shell: Shell,
}

impl Completions {
    fn run(&self) -> Outcome {
        // `generate` panics when it cannot write, and writing to memory cannot fail.
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "offhook", &mut script);
        output::write(&script)?;
        Ok(Verdict::Yes)
    }
}

/// How the user starts this program: `cargo run --` if cargo has started it.
fn invocation() -> String {
    if std::env::var_os("CARGO_MANIFEST_DIR").is_some() {
        return "cargo run --".to_owned();
    }
    let program = std::env::args().next();
    program.unwrap_or_else(|| "offhook".to_owned())
}

/// A word as a shell reads it back.
fn quoted(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:@%+,".contains(&byte);
    if !word.is_empty() && word.bytes().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

const EXAMPLES: &str = "\
Without a command, offhook does what `offhook serve` does.

Examples:
  offhook                       Receive webhooks as ./settings.toml says
  offhook init                  Write a settings.toml to start with
  offhook check                 Say what is wrong with ./settings.toml, or what would run
  offhook send                  Send a signed test message to a receiver on this machine
  offhook verify body.json --secret env:SECRET --signature 75b621fa…
                                Say whether a signature is right, and if not, why
  offhook events                Ask a running server what it has received
  offhook tail                  or see it as it comes
  offhook dead                  and what its handlers and subscriptions have given up on
  offhook subscriptions         and who it relays events to
  offhook refused               and what it did not accept, and why
  offhook reload                Have it load its settings again
  offhook journal backup DEST   Copy the journal, also while the server runs

Exit status: 0 yes, 1 no (invalid signature, failed delivery, bad settings), 2 usage.";

const COMPLETIONS_EXAMPLES: &str = "\
Examples:
  offhook completions bash > ~/.local/share/bash-completion/completions/offhook
  offhook completions zsh > \"${fpath[1]}/_offhook\"
  offhook completions fish > ~/.config/fish/completions/offhook.fish

Exit status: 0 printed, 2 usage.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
    }

    /// What must be given, in a form that every command takes.
    fn needed(command: &clap::Command) -> Vec<String> {
        let needed = command.get_arguments().filter(|one| one.is_required_set());
        let given = |one: &clap::Arg| {
            let possible = one.get_possible_values();
            let value = match (possible.first(), one.get_value_names()) {
                (Some(value), _) => value.get_name().to_owned(),
                (None, Some([name])) if name.contains("URL") => "http://127.0.0.1:9/".to_owned(),
                _ => "0198f9a2-6c1e-7d40-8f3b-2a5d9c0e4b17".to_owned(),
            };
            let option = one.get_long().map(|name| format!("--{name}"));
            option.into_iter().chain([value]).collect::<Vec<_>>()
        };
        needed.flat_map(given).collect()
    }

    #[test]
    fn admin_may_stand_before_every_action() {
        let mut cli = Cli::command();
        cli.build();
        let has_admin = |command: &&clap::Command| {
            let mut arguments = command.get_arguments();
            arguments.any(|one| one.get_long() == Some("admin") && one.is_global_set())
        };
        let mut tried = Vec::new();
        for command in cli.get_subcommands().filter(has_admin) {
            let actions = command.get_subcommands();
            for action in actions.filter(|one| one.get_name() != "help") {
                let words = [
                    "offhook",
                    command.get_name(),
                    "--admin",
                    "http://127.0.0.1:9",
                ];
                let mut words = words.map(str::to_owned).to_vec();
                words.push(action.get_name().to_owned());
                words.extend(needed(action));
                if (command.get_name(), action.get_name()) == ("events", "delete") {
                    words.push("0198f9a2-6c1e-7d40-8f3b-2a5d9c0e4b17".to_owned());
                }
                if let Err(error) = Cli::command().try_get_matches_from(&words) {
                    panic!("{words:?}: {error}");
                }
                tried.push(words[1].clone());
            }
        }
        tried.dedup();
        for command in ["events", "dead", "replays", "consumers", "subscriptions"] {
            assert!(
                tried.iter().any(|one| one == command),
                "{command}: {tried:?}"
            );
        }
    }

    #[test]
    fn only_a_server_survives_a_hangup() {
        let may_serve = |line: &str| may_serve(line.split_whitespace().map(OsString::from));
        for line in [
            "",
            "serve",
            "--settings a.toml",
            "--settings=a.toml serve",
            "-h",
        ] {
            assert!(may_serve(line), "{line}");
        }
        for line in [
            "send",
            "--settings serve replay",
            "--settings=a.toml send --count 9",
        ] {
            assert!(!may_serve(line), "{line}");
        }
    }

    #[test]
    fn words_are_quoted_for_a_shell() {
        let table = [
            ("/srv/hook.toml", "/srv/hook.toml"),
            ("", "''"),
            ("my folder", "'my folder'"),
            ("it's", r"'it'\''s'"),
            ("a*b", "'a*b'"),
        ];
        for (word, expected) in table {
            assert_eq!(quoted(word), expected);
        }
    }

    #[test]
    fn every_command_has_examples_and_exit_statuses() {
        for command in Cli::command().get_subcommands() {
            let help = command.get_after_help().map(ToString::to_string);
            let help = help.unwrap_or_default();
            for part in ["Examples:", "Exit status: 0 "] {
                assert!(help.contains(part), "{command}: {part}");
            }
        }
    }
}

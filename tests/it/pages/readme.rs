//! README.md: its commands, run in the order they stand, in every shell that is installed.

use std::process::Command;

use super::{blocks, read, root, shell_blocks};
use crate::served::Served;
use crate::support::{Folder, PRINTED, Program, Ran, offhook};

#[actix_web::test]
async fn the_first_screen_works_as_it_stands() {
    let text = section("Try it");
    let blocks = shell_blocks(&text);
    let [serve, send, curl, events, _test, delete] = &blocks[..] else {
        panic!("{blocks:?}");
    };
    for shell in shells() {
        let terminal = Terminal::new(shell, "readme-try");
        let server = terminal.serve(serve);
        let sent = terminal.paste(send, Some(&server));
        let answered = r#"answered  200 {"status":"received"}"#;
        assert!(sent.printed.contains(answered), "{shell}: {sent:?}");
        assert_eq!(server.program.line(), PRINTED[0], "what `send` sends");
        for is_duplicate in [false, true] {
            let curl = terminal.paste(curl, Some(&server));
            let is_ok = curl.printed.starts_with("HTTP/1.1 200");
            let is_marked = curl.printed.contains("offhook-duplicate: true");
            assert!(is_ok && is_marked == is_duplicate, "{shell}: {curl:?}");
        }
        assert_eq!(server.program.line(), PRINTED[0], "what curl sends");
        let listed = terminal.paste(events, Some(&server));
        let lines: Vec<&str> = listed.printed.lines().collect();
        assert_eq!((listed.status, lines.len()), (0, 4), "{listed:?}");
        let words = |line: &str| {
            line.split_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        let heading = words(lines[0]);
        assert!(
            text.lines().any(|line| heading == words(line)),
            "{listed:?}"
        );
        assert!(
            lines[1].contains("  duplicate  codeskytz  message  "),
            "{listed:?}"
        );
        assert!(server.program.stop().is_empty(), "a duplicate is printed");
        let deleted = terminal.paste(delete, None);
        let is_left = terminal.folder.0.join("data").exists();
        assert!(deleted.status == 0 && !is_left, "{deleted:?}");
    }
}

#[actix_web::test]
async fn a_subscriber_works_as_it_stands() {
    let text = section("Use any other language");
    let commands = shell_blocks(&text);
    let [subscribe, serve, add_and_send, remove, delete] = &commands[..] else {
        panic!("{commands:?}");
    };
    let program = blocks(&text, &["python"]).remove(0);
    for shell in shells() {
        let terminal = Terminal::new(shell, "readme-subscriber");
        let port = free_port().to_string();
        let file = terminal.folder.0.join("subscriber.py");
        std::fs::write(&file, program.replace("8080", &port)).unwrap();
        let subscriber = Program::start(&mut terminal.command(subscribe));
        let server = terminal.serve(serve);
        let sent = terminal.paste(&add_and_send.replace("8080", &port), Some(&server));
        assert!(sent.printed.contains("answered  200"), "{shell}: {sent:?}");
        let line = subscriber.line();
        let (id, body) = line.split_once(' ').unwrap();
        assert!(id.len() == 36 && body.contains("Hello!"), "{line}");
        let removed = terminal.paste(remove, Some(&server));
        assert_eq!(removed.status, 0, "{shell}: {removed:?}");
        server.program.stop();
        subscriber.kill();
        let deleted = terminal.paste(delete, None);
        let is_left = file.exists() || terminal.folder.0.join("data").exists();
        assert!(deleted.status == 0 && !is_left, "{deleted:?}");
    }
}

/// The part of the page below a heading.
fn section(heading: &str) -> String {
    let text = read(&root().join("README.md"));
    let (_, below) = text.split_once(&format!("\n## {heading}\n")).unwrap();
    below.split("\n## ").next().unwrap().to_owned()
}

/// The shells that are installed here.
fn shells() -> Vec<&'static str> {
    let mut shells = vec!["sh", "bash", "zsh"];
    shells.retain(|shell| Command::new(shell).args(["-c", ":"]).status().is_ok());
    assert!(!shells.is_empty());
    shells
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// A shell in a folder with the repository's settings, in which `cargo run` starts this program.
struct Terminal {
    shell: &'static str,
    folder: Folder,
}

impl Terminal {
    fn new(shell: &'static str, name: &str) -> Self {
        let folder = Folder::new(name);
        let settings = root().join("settings.toml");
        std::fs::copy(settings, folder.0.join("settings.toml")).unwrap();
        Self { shell, folder }
    }

    /// The shell with a block as a user pastes it. A program that does not end takes the shell's place.
    fn command(&self, block: &str) -> Command {
        let program = env!("CARGO_BIN_EXE_offhook");
        let block = block
            .replace("cargo run -- ", &format!("'{program}' "))
            .replace("cargo run", &format!("exec '{program}'"))
            .replace("python3", "exec python3")
            // That is for the folder of the repository.
            .replace("cargo clean", "true");
        let mut command = Command::new(self.shell);
        command.args(["-c", &block]).current_dir(&self.folder.0);
        // `offhook` in the tests has an environment that holds nothing of ours.
        for (name, value) in offhook(&[]).get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command
    }

    /// Pastes the block that starts the server.
    fn serve(&self, block: &str) -> Served {
        let mut command = self.command(block);
        for listener in ["SERVER", "ADMIN"] {
            command.env(format!("OFFHOOK__{listener}__BIND"), "127.0.0.1:0");
        }
        Served::try_start(&mut command).unwrap_or_else(|said| panic!("{block}: {said}"))
    }

    /// Pastes a block that ends. What it does with the default ports is done with those of `server`.
    fn paste(&self, block: &str, server: Option<&Served>) -> Ran {
        let mut command = self.command(block);
        if let Some(server) = server {
            let public = server.public.to_string();
            command = self.command(&block.replace("127.0.0.1:5000", &public));
            command.env("OFFHOOK__SERVER__BIND", public);
            command.env("OFFHOOK__ADMIN__BIND", server.admin.to_string());
        }
        command.output().unwrap().into()
    }
}

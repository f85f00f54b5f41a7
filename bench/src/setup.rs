//! Installs what the targets of others need: Debian packages for root, pinned Python and Node.js
//! packages into `target/bench-peers`.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, bail};

use crate::lab;
use crate::targets::TARGETS;

pub(crate) fn setup() -> anyhow::Result<()> {
    debian()?;
    let (pins, peers) = (lab::root().join("bench/peers"), lab::peers());
    std::fs::create_dir_all(peers.join("node"))?;
    python(&pins, &peers)?;
    node(&pins, &peers)?;
    for target in TARGETS {
        if let Some(why) = target.missing() {
            println!("{}: {why}", target.name);
        }
    }
    Ok(())
}

/// What Debian has, or which of it to ask an administrator for.
fn debian() -> anyhow::Result<()> {
    let missing: Vec<&str> = PACKAGES
        .iter()
        .filter(|(_, there)| !there.iter().any(|file| Path::new(file).exists()))
        .map(|(package, _)| *package)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let apt = Path::new("/usr/bin/apt-get");
    if !rustix::process::geteuid().is_root() || !apt.exists() {
        println!(
            "Install these, by their Debian names, or go without: {}",
            missing.join(" ")
        );
        return Ok(());
    }
    let apt = || {
        let mut command = Command::new(apt);
        command.env("DEBIAN_FRONTEND", "noninteractive");
        command
    };
    run(apt().args(["update", "-qq"]))?;
    run(apt()
        .args(["install", "-y", "-qq", "--no-install-recommends"])
        .args(missing))
}

fn python(pins: &Path, peers: &Path) -> anyhow::Result<()> {
    let environment = peers.join("python");
    run(Command::new("python3")
        .args(["-m", "venv"])
        .arg(&environment))?;
    let mut pip = Command::new(environment.join("bin/python"));
    pip.args([
        "-m",
        "pip",
        "install",
        "-q",
        "--no-input",
        "--require-hashes",
        "-r",
    ]);
    run(pip.arg(pins.join("requirements.txt")))
}

fn node(pins: &Path, peers: &Path) -> anyhow::Result<()> {
    let folder = peers.join("node");
    for file in ["package.json", "package-lock.json"] {
        std::fs::copy(pins.join(file), folder.join(file))?;
    }
    let mut npm = Command::new("npm");
    npm.args([
        "ci",
        "--ignore-scripts",
        "--no-audit",
        "--no-fund",
        "--no-update-notifier",
    ]);
    run(npm.current_dir(folder))
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let status = command
        .status()
        .with_context(|| format!("{name} cannot be started"))?;
    if !status.success() {
        bail!("{name} failed: {status}");
    }
    Ok(())
}

/// Packages, and files of which one is there when they are.
const PACKAGES: &[(&str, &[&str])] = &[
    (
        "python3-venv",
        &["/usr/bin/python3", "/usr/local/bin/python3"],
    ),
    ("nodejs", &["/usr/bin/node", "/usr/local/bin/node"]),
    ("npm", &["/usr/bin/npm", "/usr/local/bin/npm"]),
    ("postgresql", &["/usr/lib/postgresql"]),
    (
        "redis-server",
        &["/usr/bin/redis-server", "/usr/local/bin/redis-server"],
    ),
    ("webhook", &["/usr/bin/webhook", "/usr/local/bin/webhook"]),
];

//! The databases behind the bare app, each new and empty in a folder of its own, on a Unix socket, on
//! the server's core, or on that of --database-core: their work is the target's work.

use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};

use super::find;
use crate::lab::Lab;
use crate::process::{Listening, Process};

pub(super) fn missing_postgres() -> Option<String> {
    match (postgres_program("initdb"), postgres_program("postgres")) {
        (Some(_), Some(_)) if us_is_root() && unprivileged().is_none() => {
            Some("PostgreSQL does not run as root, and there is no user postgres".to_owned())
        }
        (Some(_), Some(_)) => None,
        _ => Some("PostgreSQL is not installed; `setup` installs it for root".to_owned()),
    }
}

pub(super) fn missing_redis() -> Option<String> {
    let missing = find("redis-server", &[]).is_none();
    missing.then(|| "redis-server is not installed; `setup` installs it for root".to_owned())
}

pub(super) fn postgres_version() -> Option<Command> {
    let mut command = Command::new(postgres_program("postgres")?);
    command.arg("--version");
    Some(command)
}

pub(super) fn redis_version() -> Command {
    let mut command = Command::new("redis-server");
    command.arg("--version");
    command
}

/// Where a target's database has its Unix socket.
fn sockets(lab: &Lab, folder: &Path) -> PathBuf {
    let name = folder.file_name().unwrap_or_default();
    lab.sockets.join(name)
}

/// A synchronous standby of the database in `folder`.
pub(super) fn standby(lab: &Lab, folder: &Path) -> anyhow::Result<Process> {
    let (primary, own) = (sockets(lab, folder), folder.join("standby"));
    let sockets = lab.sockets.join("standby");
    std::fs::create_dir_all(&own)?;
    let mut copy = Command::new(postgres_program("pg_basebackup").context("no pg_basebackup")?);
    copy.arg("-D")
        .arg(own.join("cluster"))
        .args(["-R", "-c", "fast", "-U", "bench"]);
    copy.arg("-h").arg(&primary);
    let mut command = Command::new(postgres_program("postgres").context("no postgres")?);
    command.arg("-D").arg(own.join("cluster"));
    command.args(["-c", "listen_addresses="]);
    command
        .arg("-c")
        .arg(format!("unix_socket_directories={}", sockets.display()));
    std::fs::create_dir_all(&sockets)?;
    for folder in [&own, &sockets] {
        std::fs::set_permissions(folder, Permissions::from_mode(0o700))?;
    }
    if us_is_root() {
        let (user, group) = unprivileged().context("no user postgres")?;
        for folder in [&own, &sockets] {
            chown(folder, Some(user), Some(group))?;
        }
        copy.uid(user).gid(group);
        command.uid(user).gid(group);
    }
    copy.current_dir("/");
    command.current_dir("/");
    let made = copy.stdin(Stdio::null()).output()?;
    if !made.status.success() {
        let said = String::from_utf8_lossy(&made.stderr);
        bail!("pg_basebackup: {}", said.trim());
    }
    Process::start_listening(command, lab.database_core, &own, &listening(&sockets)?)
}

/// The URL of the database in `folder`.
pub(super) fn url(lab: &Lab, folder: &Path) -> String {
    let sockets = sockets(lab, folder).display().to_string();
    format!(
        "postgresql://bench@{}/postgres",
        sockets.replace('/', "%2F")
    )
}

/// A cluster with the settings it comes with, which have `fsync` and `synchronous_commit` on. Says
/// where to connect to.
pub(super) fn postgres(
    lab: &Lab,
    folder: &Path,
    more: &[&str],
) -> anyhow::Result<(Process, String)> {
    let data = folder.join("cluster");
    let sockets = sockets(lab, folder);
    for folder in [&data, &sockets] {
        std::fs::create_dir_all(folder)?;
        std::fs::set_permissions(folder, Permissions::from_mode(0o700))?;
    }
    let mut init = Command::new(postgres_program("initdb").context("no initdb")?);
    init.arg("-D")
        .arg(&data)
        .args(["-U", "bench", "--auth=trust", "--no-locale", "-E", "UTF8"]);
    let mut command = Command::new(postgres_program("postgres").context("no postgres")?);
    command.arg("-D").arg(&data);
    command.args(["-c", "listen_addresses=", "-c", "synchronous_commit=on"]);
    command
        .arg("-c")
        .arg(format!("unix_socket_directories={}", sockets.display()));
    if us_is_root() {
        let (user, group) = unprivileged().context("no user postgres")?;
        for folder in [&data, &sockets] {
            chown(folder, Some(user), Some(group))?;
        }
        init.uid(user).gid(group);
        command.uid(user).gid(group);
    }
    // Not a folder that the other user may not enter.
    init.current_dir("/");
    command.current_dir("/");
    for setting in more {
        command.args(["-c", setting]);
    }
    let made = init.stdin(Stdio::null()).output()?;
    if !made.status.success() {
        bail!("initdb: {}", String::from_utf8_lossy(&made.stderr).trim());
    }
    let on = listening(&sockets)?;
    let process = Process::start_listening(command, lab.database_core, folder, &on)?;
    let at = format!("host={} user=bench dbname=postgres", sockets.display());
    Ok((process, at))
}

fn listening(sockets: &Path) -> anyhow::Result<Listening> {
    Ok(Listening::Postgres {
        is_ready: postgres_program("pg_isready").context("no pg_isready")?,
        folder: sockets.to_owned(),
    })
}

/// An append-only file, synchronised before each answer, and no snapshots beside it.
pub(super) fn redis(lab: &Lab, folder: &Path) -> anyhow::Result<(Process, String)> {
    let socket = lab.sockets.join("redis.sock");
    let mut command = Command::new("redis-server");
    command.args(["--port", "0", "--daemonize", "no", "--save", ""]);
    command.args(["--appendonly", "yes", "--appendfsync", "always"]);
    command.args(["--auto-aof-rewrite-percentage", "0"]);
    command
        .arg("--dir")
        .arg(folder)
        .arg("--unixsocket")
        .arg(&socket);
    let on = Listening::Unix(socket.clone());
    let process = Process::start_listening(command, lab.database_core, folder, &on)?;
    Ok((process, format!("redis+unix://{}", socket.display())))
}

/// Debian keeps the server's programs off the `PATH`, a folder for each version.
fn postgres_program(name: &str) -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten();
    let mut folders: Vec<PathBuf> = versions.map(|version| version.path().join("bin")).collect();
    folders.sort();
    folders.reverse();
    find(name, &folders)
}

fn us_is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The user that Debian made for PostgreSQL.
fn unprivileged() -> Option<(u32, u32)> {
    let users = std::fs::read_to_string("/etc/passwd").ok()?;
    let line = users.lines().find(|line| line.starts_with("postgres:"))?;
    let mut fields = line.split(':').skip(2);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

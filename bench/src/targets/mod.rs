//! What is compared: offhook, the limits of the machine, and what people use otherwise.
//!
//! Each does the same job: check the signature over the raw bytes, parse, hand the message to some
//! code, answer. [`peers`] are programs of others, [`databases`] are servers behind our bare app.

mod databases;
mod peers;
mod running;

use std::path::PathBuf;
use std::process::Command;

use anyhow::Context as _;

use crate::lab::Lab;
use crate::load::{Shape, Signing};
use crate::servers::{ADMIN, CERTIFICATE, Served};

pub(crate) use running::Running;

/// One line of the comparison.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target {
    pub(crate) name: &'static str,
    /// For tables: what it is, with the settings that matter.
    pub(crate) what: &'static str,
    /// It answers only when the message is on disk.
    pub(crate) durable: bool,
    kind: Kind,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Served(Served),
    Postgres,
    /// The database's own function that appends, and nothing else.
    Append,
    /// So many instances on one database, which has a synchronous standby or none.
    Cluster(usize, bool),
    Redis,
    Peer(peers::Peer),
}

/// What a server of ours is told beyond its name.
#[derive(Debug, Clone)]
pub(crate) struct Setting {
    /// How many handlers there are.
    pub(crate) handlers: usize,
    /// The subscribers to relay to, separated by commas, when told to begin; none where empty.
    pub(crate) relay_to: String,
    /// The subscribers with a subscription each, separated by commas; none where empty.
    pub(crate) subscribed: String,
    /// How many requests are on their way to each subscriber at once.
    pub(crate) concurrency: usize,
    /// Whether it has an admin listener.
    pub(crate) admin: bool,
    /// The session whose events its handlers fail.
    pub(crate) failing: Option<&'static str>,
}

impl Default for Setting {
    fn default() -> Self {
        Self {
            handlers: 1,
            relay_to: String::new(),
            subscribed: String::new(),
            concurrency: 64,
            admin: false,
            failing: None,
        }
    }
}

impl Target {
    pub(crate) fn named(name: &str) -> Option<Self> {
        TARGETS.iter().find(|target| target.name == name).copied()
    }

    /// What its requests look like, but for their length and their lanes.
    pub(crate) fn shape(&self) -> Shape {
        let signing = match self.kind {
            Kind::Peer(peers::Peer::Octokit) => Signing::GitHub,
            _ => Signing::Gateway,
        };
        Shape {
            signing,
            ..Shape::default()
        }
    }

    /// Why it cannot run here, and what to do.
    pub(crate) fn missing(&self) -> Option<String> {
        match self.kind {
            Kind::Served(_) => None,
            Kind::Postgres | Kind::Append | Kind::Cluster(..) => databases::missing_postgres(),
            Kind::Redis => databases::missing_redis(),
            Kind::Peer(peer) => peer.missing(),
        }
    }

    /// What the program that somebody else wrote calls itself, with its version.
    pub(crate) fn version(&self) -> Option<String> {
        let mut command = match self.kind {
            Kind::Served(_) => return None,
            Kind::Postgres | Kind::Append | Kind::Cluster(..) => databases::postgres_version()?,
            Kind::Redis => databases::redis_version(),
            Kind::Peer(peer) => peer.version(),
        };
        let output = command.output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        // Redis goes on with how it was built; Node.js says nothing but the number.
        let line = text.lines().next()?.split(" sha=").next()?.trim();
        Some(match line.strip_prefix('v') {
            Some(number) => format!("Node.js {number}"),
            None => line.to_owned(),
        })
    }

    /// Starts it on the server core, with nothing kept.
    pub(crate) fn start(&self, lab: &Lab, setting: &Setting) -> anyhow::Result<Running> {
        lab.empty_folder(self.name)?;
        self.start_again(lab, setting)
    }

    /// Starts it with what it has kept before, where it is not a database of somebody else's.
    pub(crate) fn start_again(&self, lab: &Lab, setting: &Setting) -> anyhow::Result<Running> {
        let folder = lab.folder.join(self.name);
        match self.kind {
            Kind::Served(server) => {
                let command = serve(server, &folder, None, setting)?;
                let mut running = Running::talking(command, lab, &folder)?;
                if setting.admin {
                    running.find_admin(&folder.join(ADMIN))?;
                }
                match server {
                    Served::SqliteTls => running.trusting(&folder.join(CERTIFICATE)),
                    _ => Ok(running),
                }
            }
            Kind::Postgres => {
                let (database, at) = databases::postgres(lab, &folder, &[])?;
                let command = serve(Served::Postgres, &folder, Some(&at), setting)?;
                Ok(Running::talking(command, lab, &folder)?.with(database))
            }
            Kind::Append => {
                let (database, _) = databases::postgres(lab, &folder, &[])?;
                let url = databases::url(lab, &folder);
                let command = serve(Served::Append, &folder, Some(&url), setting)?;
                let running = Running::talking(command, lab, &folder)?.with(database);
                Ok(running.committing(&url))
            }
            Kind::Cluster(instances, is_synchronous) => {
                let more: &[&str] = match is_synchronous {
                    true => &["synchronous_standby_names=*"],
                    false => &[],
                };
                let (database, _) = databases::postgres(lab, &folder, more)?;
                let standby = is_synchronous.then(|| databases::standby(lab, &folder));
                let standby = standby.transpose()?;
                let url = databases::url(lab, &folder);
                let mut running: Option<Running> = None;
                for number in 1..=instances {
                    let own = folder.join(format!("i{number}"));
                    std::fs::create_dir_all(&own)?;
                    let command = serve(Served::Cluster, &own, Some(&url), setting)?;
                    let instance = Running::talking(command, lab, &own)?;
                    running = Some(match running {
                        Some(running) => running.and(instance),
                        None => instance,
                    });
                }
                let mut running = running.context("no instances")?;
                if let Some(standby) = standby {
                    running = running.with(standby);
                }
                Ok(running.with(database).committing(&url))
            }
            Kind::Redis => {
                let (database, at) = databases::redis(lab, &folder)?;
                let command = serve(Served::Redis, &folder, Some(&at), setting)?;
                Ok(Running::talking(command, lab, &folder)?.with(database))
            }
            Kind::Peer(peer) => peer.start(lab, &folder),
        }
    }
}

/// This program once more, as a server.
fn serve(
    server: Served,
    folder: &std::path::Path,
    database: Option<&str>,
    setting: &Setting,
) -> anyhow::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    let name = clap::ValueEnum::to_possible_value(&server);
    command
        .arg("serve")
        .args(name.as_ref().map(clap::builder::PossibleValue::get_name));
    command.arg("--folder").arg(folder);
    command.arg("--handlers").arg(setting.handlers.to_string());
    command.args(["--concurrency", &setting.concurrency.to_string()]);
    if setting.admin {
        command.arg("--admin");
    }
    for (option, subscribers) in [
        ("--relay-to", &setting.relay_to),
        ("--subscribed", &setting.subscribed),
    ] {
        if !subscribers.is_empty() {
            command.args([option, subscribers]);
        }
    }
    if let Some(session) = setting.failing {
        command.args(["--failing", session]);
    }
    if let Some(database) = database {
        command.args(["--database", database]);
    }
    Ok(command)
}

/// Where a program is, on the `PATH` or in the folders given.
fn find(program: &str, beside: &[PathBuf]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = beside.iter().cloned().chain(std::env::split_paths(&path));
    folders
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}

const fn target(name: &'static str, durable: bool, kind: Kind, what: &'static str) -> Target {
    Target {
        name,
        what,
        durable,
        kind,
    }
}

/// What the load generator can do at most, measured like a target.
pub(crate) const CEILING: Target = target(
    "ceiling",
    false,
    Kind::Served(Served::Fixed),
    "answers a fixed 200 without a look: the load generator's own limit",
);

/// As the target `sqlite`, with a folder of its own.
pub(crate) const BESIDE: Target = target(
    "beside",
    true,
    Kind::Served(Served::Sqlite),
    "offhook with its journal, beside another one",
);

/// All there is to compare.
pub(crate) const TARGETS: &[Target] = &[
    target(
        "none",
        false,
        Kind::Served(Served::None),
        "offhook, engine `none`, a handler that counts",
    ),
    target(
        "bare",
        false,
        Kind::Served(Served::Bare),
        "a bare actix-web app that checks, parses and counts",
    ),
    target(
        "sqlite",
        true,
        Kind::Served(Served::Sqlite),
        "offhook with its journal, a handler that counts",
    ),
    target(
        "sqlite-tls",
        true,
        Kind::Served(Served::SqliteTls),
        "the same over TLS 1.3 on connections that stay open",
    ),
    target(
        "file",
        true,
        Kind::Served(Served::File),
        "the bare app and one file, group commit, fdatasync: the limit",
    ),
    target(
        "redis",
        true,
        Kind::Redis,
        "the bare app and Redis XADD, appendfsync always",
    ),
    target(
        "postgres",
        true,
        Kind::Postgres,
        "the bare app and a PostgreSQL INSERT each, synchronous_commit on, pool of 64",
    ),
    target(
        "append",
        true,
        Kind::Append,
        "the bare app and the bare call of append_1, what waits in one call: the limit of the engine postgres",
    ),
    target(
        "cluster-1",
        true,
        Kind::Cluster(1, false),
        "offhook, engine `postgres`, one instance, a handler that counts",
    ),
    target(
        "cluster-3",
        true,
        Kind::Cluster(3, false),
        "the same, three instances with as many connections each",
    ),
    target(
        "cluster-3-sync",
        true,
        Kind::Cluster(3, true),
        "the same with a synchronous standby",
    ),
    target(
        "sqlite-naive",
        true,
        Kind::Served(Served::SqliteNaive),
        "the bare app and a SQLite INSERT each, WAL, synchronous FULL",
    ),
    target(
        "octokit",
        false,
        Kind::Peer(peers::Peer::Octokit),
        "@octokit/webhooks, its Node.js middleware, a handler that counts",
    ),
    target(
        "express",
        false,
        Kind::Peer(peers::Peer::Express),
        "the gateway documentation's Express app",
    ),
    target(
        "flask",
        false,
        Kind::Peer(peers::Peer::Flask),
        "the gateway documentation's Flask app under gunicorn as it comes, which closes each connection",
    ),
    target(
        "flask-threads",
        false,
        Kind::Peer(peers::Peer::FlaskThreads),
        "the same under gunicorn with 4 threads and keep-alive",
    ),
    target(
        "flask-dev",
        false,
        Kind::Peer(peers::Peer::FlaskDev),
        "the same app with Flask's own server, which closes each connection",
    ),
    target(
        "webhook",
        false,
        Kind::Peer(peers::Peer::Webhook),
        "Debian's webhook (adnanh), HMAC rule, command /bin/true",
    ),
];

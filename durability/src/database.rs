//! [`Database`]: a private PostgreSQL server, which can be killed.

use std::fs::{self, DirBuilder, File};
use std::net::TcpListener;
use std::os::unix::fs::{DirBuilderExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, geteuid, kill_process};
use tokio::time::{Instant, sleep};

use crate::error::{Error, io};

/// A PostgreSQL server with a folder and a port of its own. Dropping it ends it.
pub(crate) struct Database {
    programs: PathBuf,
    folder: PathBuf,
    log: PathBuf,
    port: u16,
    process: Option<Child>,
}

impl Database {
    /// The folder of PostgreSQL's programs.
    pub(crate) fn programs(named: Option<&Path>) -> Result<PathBuf, Error> {
        let has_all = |folder: &Path| {
            ["initdb", "postgres"]
                .iter()
                .all(|name| folder.join(name).is_file())
        };
        if let Some(named) = named {
            if has_all(named) {
                return Ok(named.to_owned());
            }
            let named = named.display();
            return Err(Error(format!(
                "{named}: the programs initdb and postgres are not there"
            )));
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
        for versions in VERSIONS {
            let mut found: Vec<(u32, PathBuf)> = fs::read_dir(versions)
                .into_iter()
                .flatten()
                .filter_map(|entry| {
                    let path = entry.ok()?.path();
                    let name = path.file_name()?.to_str()?;
                    let number = name.trim_start_matches(|c: char| !c.is_ascii_digit());
                    Some((number.parse().ok()?, path.join("bin")))
                })
                .collect();
            found.sort();
            folders.extend(found.into_iter().rev().map(|(_, folder)| folder));
        }
        folders.into_iter().find(|folder| has_all(folder)).ok_or_else(|| {
            Error(format!(
                "PostgreSQL is not installed: the programs initdb and postgres are neither on the PATH nor below {}; \
                 install it (apt-get install postgresql), or name the folder of its programs with --postgres-programs",
                VERSIONS[0]
            ))
        })
    }

    /// Creates the server's files in a folder below this one.
    pub(crate) fn create(programs: PathBuf, below: &Path) -> Result<Self, Error> {
        let folder = below.join("database");
        let made = DirBuilder::new().mode(0o700).create(&folder);
        made.and_then(|()| match geteuid().is_root() {
            true => chown(&folder, Some(NOBODY), Some(NOBODY)),
            false => Ok(()),
        })
        .map_err(io(folder.display()))?;
        let port = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr());
        let database = Self {
            programs,
            log: below.join("database.log"),
            folder,
            port: port.map_err(io("looking for a free port"))?.port(),
            process: None,
        };
        let mut init = database.command("initdb");
        init.args(["-U", "offhook", "-A", "trust", "-E", "UTF8", "--locale=C"]);
        init.args(["--no-instructions", "--no-sync"]);
        let made = init.stdin(Stdio::null()).output().map_err(io("initdb"))?;
        if !made.status.success() {
            let said = String::from_utf8_lossy(&made.stderr);
            return Err(Error(format!("initdb has failed: {}", said.trim())));
        }
        Ok(database)
    }

    pub(crate) fn url(&self) -> String {
        format!("postgresql://offhook@127.0.0.1:{}/postgres", self.port)
    }

    /// Starts it, and waits until it can be used.
    pub(crate) async fn run(&mut self) -> Result<(), Error> {
        let starting = "starting PostgreSQL";
        let log = File::options().create(true).append(true).open(&self.log);
        let log = log.map_err(io(self.log.display()))?;
        // Anything a client believes that it left there is gone.
        let status = self.folder.join("postmaster.pid");
        let mut command = self.command("postgres");
        command.args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-k", ""]);
        for setting in SETTINGS {
            command.args(["-c", setting]);
        }
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        let process = self.process.insert(command.spawn().map_err(io(starting))?);
        let (pid, began) = (process.id().to_string(), Instant::now());
        while began.elapsed() < LONGEST {
            let said = fs::read_to_string(&status).unwrap_or_default();
            let mut lines = said.lines();
            if lines.next() == Some(&*pid)
                && lines.next_back().is_some_and(|line| line.trim() == "ready")
            {
                return Ok(());
            }
            if process.try_wait().map_err(io(starting))?.is_some() {
                break;
            }
            sleep(LOOK).await;
        }
        let said = fs::read_to_string(&self.log).unwrap_or_default();
        Err(Error(format!(
            "PostgreSQL does not start; it said:\n{}",
            said.trim()
        )))
    }

    /// Ends all its processes at once, which write nothing more: what is not on the disk by then is found again only
    /// in its log.
    pub(crate) fn kill(&mut self) {
        let Some(mut process) = self.process.take() else {
            return;
        };
        // Its children end with it, which they do not after SIGKILL.
        let _ = kill_process(Pid::from_child(&process), Signal::QUIT);
        let _ = process.wait();
    }

    /// One of its programs, on its folder, and never as root.
    fn command(&self, name: &str) -> Command {
        let program = self.programs.join(name);
        let mut command = match has_setpriv() {
            // Where this process is killed, the server ends too.
            true => {
                let mut command = Command::new("setpriv");
                command.args(["--pdeathsig", "QUIT"]).arg(program);
                command
            }
            false => Command::new(program),
        };
        command.arg("-D").arg(&self.folder);
        command.current_dir("/").env("LC_ALL", "C");
        if geteuid().is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        command
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        self.kill();
    }
}

fn has_setpriv() -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join("setpriv").is_file())
}

/// Where systems have the programs of each version.
const VERSIONS: [&str; 5] = [
    "/usr/lib/postgresql",
    "/usr/local",
    "/opt/homebrew/opt",
    "/usr",
    "/Library/PostgreSQL",
];

/// The user that owns nothing. PostgreSQL does not run as root.
const NOBODY: u32 = 65534;

/// What it acknowledges is on the disk.
const SETTINGS: [&str; 5] = [
    "fsync=on",
    "synchronous_commit=on",
    "full_page_writes=on",
    "max_connections=200",
    "log_min_messages=warning",
];

/// How long a start may take; after a kill it goes through its log.
const LONGEST: Duration = Duration::from_secs(60);

const LOOK: Duration = Duration::from_millis(20);

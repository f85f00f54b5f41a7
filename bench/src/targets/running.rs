//! [`Running`]: a target that is up, and what can be asked of it.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;
use offhook::clock::{Clock as _, SystemClock};
use rustix::process::{Pid, Signal, kill_process};

use crate::lab::Lab;
use crate::load::To;
use crate::process::{Process, Talk, pause};
use crate::procfs::{self, Usage};

/// A target's processes. They end, the first one first, when this is dropped.
pub(crate) struct Running {
    pub(crate) to: To,
    processes: Vec<Process>,
    /// For servers that are this program: they tell what their handlers have seen.
    talks: Vec<Talk>,
    /// The database whose commits are counted, and the newest block that was counted.
    commits: Option<(String, i64)>,
    /// Its admin listener, if it has one.
    admin: Option<SocketAddr>,
}

impl Running {
    pub(super) fn new(address: SocketAddr, process: Process) -> Self {
        Self {
            to: address.into(),
            processes: vec![process],
            talks: Vec::new(),
            commits: None,
            admin: None,
        }
    }

    /// Starts a server that is this program.
    pub(crate) fn talking(command: Command, lab: &Lab, folder: &Path) -> anyhow::Result<Self> {
        let (process, address, talk) = Process::start_talking(command, lab.server_core, folder)?;
        Ok(Self {
            talks: vec![talk],
            ..Self::new(address, process)
        })
    }

    /// Another process whose work is this target's work.
    pub(super) fn with(mut self, process: Process) -> Self {
        self.processes.push(process);
        self
    }

    /// Another server that shares the work.
    pub(super) fn and(mut self, other: Self) -> Self {
        let address = other.to.first();
        self.to = self.to.and(address);
        self.processes.extend(other.processes);
        self.talks.extend(other.talks);
        self
    }

    /// The same, with a journal in the database at this URL.
    pub(super) fn committing(mut self, url: &str) -> Self {
        self.commits = Some((url.to_owned(), 0));
        self
    }

    /// How many commits have stored bodies since the last call; `None` where that is not known.
    pub(crate) fn commits(&mut self) -> anyhow::Result<Option<u64>> {
        let Some((url, newest)) = &mut self.commits else {
            return Ok(None);
        };
        let runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = { runtime }.enable_all().build()?;
        let counted = runtime.block_on(async {
            let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await?;
            tokio::spawn(connection);
            client.query_one(COMMITS, &[newest]).await
        });
        let row = counted?;
        *newest = row.get(1);
        Ok(Some(row.get::<_, i64>(0).unsigned_abs()))
    }

    /// The same, if it speaks TLS with the certificate in this file.
    pub(super) fn trusting(mut self, certificate: &Path) -> anyhow::Result<Self> {
        self.to = self.to.trusting(certificate)?;
        Ok(self)
    }

    /// Reads from its file where its admin listener is.
    pub(super) fn find_admin(&mut self, file: &Path) -> anyhow::Result<()> {
        let text = std::fs::read_to_string(file)?;
        self.admin = Some(text.parse()?);
        Ok(())
    }

    pub(crate) fn admin(&self) -> anyhow::Result<SocketAddr> {
        self.admin.context("it has no admin listener")
    }

    /// The processes that were started; they may have children.
    pub(crate) fn roots(&self) -> Vec<u32> {
        self.processes.iter().map(Process::id).collect()
    }

    pub(crate) fn usage(&self) -> Usage {
        procfs::usage(&self.roots())
    }

    /// How many messages its handler has seen, where it can say so.
    pub(crate) fn handled(&mut self) -> anyhow::Result<Option<u64>> {
        let mut all = None;
        for talk in &mut self.talks {
            all = Some(all.unwrap_or(0) + talk.handled()?);
        }
        Ok(all)
    }

    /// Lets it begin what it waits with.
    pub(crate) fn open(&mut self) -> anyhow::Result<()> {
        self.talks.iter_mut().try_for_each(Talk::open)
    }

    /// Has it stand still, or go on.
    pub(crate) fn stand_still(&self, still: bool) -> anyhow::Result<()> {
        let signal = if still { Signal::STOP } else { Signal::CONT };
        for root in self.roots() {
            let root = Pid::from_raw(root.cast_signed()).context("a process without an id")?;
            kill_process(root, signal)?;
        }
        Ok(())
    }

    /// Waits until it has nothing left to do: work put off until after the answer is work, and must
    /// neither be left out of the account nor disturb the next target. Says how long that took.
    pub(crate) fn settle(&self) -> Duration {
        let start = SystemClock.monotonic();
        let mut last_busy = start;
        let mut cpu = self.usage().cpu;
        loop {
            pause(Duration::from_millis(50));
            let now = SystemClock.monotonic();
            let cpu_now = self.usage().cpu;
            if cpu_now != cpu {
                (cpu, last_busy) = (cpu_now, now);
            }
            if now - last_busy >= QUIET || now - start >= MOST {
                return last_busy - start;
            }
        }
    }
}

/// One batch is one commit.
const COMMITS: &str =
    "SELECT count(DISTINCT batch), coalesce(max(last), $1) FROM offhook.block WHERE last > $1";

/// Who has used no hundredth of a second of CPU for so long has nothing left to do.
const QUIET: Duration = Duration::from_millis(400);

/// The longest wait; what is left then is a finding of its own.
const MOST: Duration = Duration::from_secs(60);

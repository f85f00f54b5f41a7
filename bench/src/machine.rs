//! Where a figure comes from: the machine, its disk, the day, the command, the version.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use offhook::clock::{Clock as _, SystemClock};
use serde::{Deserialize, Serialize};

use crate::lab::Lab;

/// What stands beside every figure.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Origin {
    /// The day and time it was begun.
    pub(crate) date: String,
    pub(crate) command: String,
    /// The commit, with `+` where files have changed since.
    pub(crate) commit: String,
    pub(crate) machine: Machine,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) cpu: String,
    pub(crate) cores: usize,
    pub(crate) memory_gib: f64,
    pub(crate) kernel: String,
    pub(crate) file_system: String,
    /// Appending 4 KiB and fdatasync, in µs: the median and the 99th percentile of 500.
    pub(crate) sync_median: u64,
    pub(crate) sync_p99: u64,
    pub(crate) server_core: usize,
    pub(crate) load_core: usize,
}

impl Origin {
    pub(crate) fn of(lab: &Lab) -> anyhow::Result<Self> {
        Ok(Self {
            date: SystemClock.now().strftime("%Y-%m-%d %H:%M UTC").to_string(),
            command: command(),
            commit: commit(&lab.root),
            machine: Machine::of(lab)?,
        })
    }
}

impl Machine {
    fn of(lab: &Lab) -> anyhow::Result<Self> {
        let read = |path| std::fs::read_to_string(path).unwrap_or_default();
        let (cpus, memory) = (read("/proc/cpuinfo"), read("/proc/meminfo"));
        let after = |text: &str, name| {
            let line = text.lines().find(|line| line.starts_with(name))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        };
        let kib = after(&memory, "MemTotal").unwrap_or_default();
        let kib: f64 = kib.trim_end_matches(" kB").parse().unwrap_or_default();
        let (sync_median, sync_p99) = sync_latency(&lab.folder)?;
        let system = rustix::system::uname();
        Ok(Self {
            cpu: after(&cpus, "model name").unwrap_or_else(|| "unknown".to_owned()),
            // Not those that this thread may use: it is pinned.
            cores: cpus
                .lines()
                .filter(|line| line.starts_with("processor"))
                .count(),
            memory_gib: (kib / f64::from(1 << 20) * 10.0).round() / 10.0,
            kernel: format!(
                "{} {}",
                system.sysname().to_string_lossy(),
                system.release().to_string_lossy()
            ),
            file_system: file_system(&lab.folder),
            sync_median,
            sync_p99,
            server_core: lab.server_core,
            load_core: lab.load_core,
        })
    }
}

/// As it is typed: cargo's part is the same for everyone.
fn command() -> String {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    format!(
        "cargo run --release -p offhook-bench -- {}",
        arguments.join(" ")
    )
}

fn commit(root: &Path) -> String {
    let git = |arguments: &[&str]| {
        let output = Command::new("git")
            .arg("-C")
            .arg(root)
            .args(arguments)
            .output()
            .ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| text.trim().to_owned())
    };
    let Some(commit) = git(&["rev-parse", "--short", "HEAD"]) else {
        return "unknown".to_owned();
    };
    let changed = git(&[
        "status",
        "--porcelain",
        "--",
        "src",
        "handlers",
        "bench",
        "Cargo.lock",
    ]);
    match changed.is_some_and(|changed| changed.is_empty()) {
        true => commit,
        false => format!("{commit}+"),
    }
}

/// The type of the file system that holds the folder.
fn file_system(folder: &Path) -> String {
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap_or_default();
    let holding = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let (place, kind) = (fields.next()?, fields.next()?);
        folder.starts_with(place).then_some((place.len(), kind))
    });
    let deepest = holding.max_by_key(|(length, _)| *length);
    deepest.map_or_else(|| "unknown".to_owned(), |(_, kind)| kind.to_owned())
}

fn sync_latency(folder: &Path) -> std::io::Result<(u64, u64)> {
    let path = folder.join("sync-latency");
    let mut file = File::create(&path)?;
    let mut micros = Vec::new();
    for _ in 0..500 {
        let start = SystemClock.monotonic();
        file.write_all(&[7; 4096])?;
        file.sync_data()?;
        let took = SystemClock.monotonic() - start;
        micros.push(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }
    std::fs::remove_file(path)?;
    micros.sort_unstable();
    Ok((micros[micros.len() / 2], micros[micros.len() * 99 / 100]))
}

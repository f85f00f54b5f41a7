//! [`SlowDisk`]: a disk that takes its time to sync (slow.c), and the servers that have it.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use super::disk::compile;
use crate::served::command;
use crate::support::Folder;

/// The library, compiled, and the delay.
pub struct SlowDisk {
    library: PathBuf,
    delay: PathBuf,
    _folder: Folder,
}

impl SlowDisk {
    /// A disk without a delay.
    pub fn new(name: &str) -> Self {
        let folder = Folder::new(name);
        let disk = Self {
            library: compile(&folder, "tests/it/fault/slow.c"),
            delay: folder.0.join("delay"),
            _folder: folder,
        };
        disk.set(Duration::ZERO);
        disk
    }

    /// Delays each sync from now on.
    pub fn set(&self, delay: Duration) {
        // Renamed, so that it is never read half-written.
        let written = self.delay.with_extension("new");
        std::fs::write(&written, delay.as_millis().to_string()).unwrap();
        std::fs::rename(&written, &self.delay).unwrap();
    }

    /// The server with the library in it.
    pub fn server(&self, folder: &Folder) -> Command {
        let mut command = command(folder);
        command
            .env("LD_PRELOAD", &self.library)
            .env("OFFHOOK_SLOW_FILE", &self.delay);
        command
    }
}

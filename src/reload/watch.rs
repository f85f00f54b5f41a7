//! [`FileWatch`]: notices that the contents of files have changed.
//!
//! The system tells what happens in the *folders* of the files, because most programs write a new file and
//! rename it. Where a part of a path is a symbolic link, the folder of the link is watched too: Kubernetes
//! changes `..data`, and deployments change `current`. Where a part is missing, the folder above it is watched.
//!
//! What happened does not count, only what is in the files afterwards: they are read when nothing has happened
//! for [`QUIET`], and again until two readings are the same. Other files of the same folders wake this task, but
//! nothing is read for them.
//!
//! Not seen are changes of a single file that is mounted by itself, as containers do with `subPath`.

#[cfg(target_os = "linux")]
mod folders;
mod places;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;

#[cfg(target_os = "linux")]
use folders::Folders;
#[cfg(not(target_os = "linux"))]
use no_folders::Folders;

use crate::clock::Clock;
use crate::signature::read_regular;

/// Watches files, which need not exist.
#[derive(Debug)]
pub(super) struct FileWatch {
    files: BTreeSet<PathBuf>,
    /// What was in them when they were looked at last.
    known: Contents,
    /// `None` if the system cannot watch any more.
    folders: Option<Folders>,
    /// Something has happened that was not looked at yet.
    is_pending: bool,
    /// Why not all of them are watched, which was told.
    problem: Option<String>,
    /// One reads at a time.
    turns: Arc<Semaphore>,
    clock: Arc<dyn Clock>,
}

/// The hash of each file that can be read.
type Contents = BTreeMap<PathBuf, Option<[u8; 32]>>;

impl FileWatch {
    pub(super) async fn new(files: BTreeSet<PathBuf>, clock: Arc<dyn Clock>) -> Self {
        let mut watch = Self {
            files,
            known: Contents::new(),
            folders: None,
            is_pending: false,
            problem: None,
            turns: Arc::new(Semaphore::new(1)),
            clock,
        };
        watch.watch_folders();
        watch.known = watch.read().await;
        watch
    }

    /// Watches these files from now on. If they are others than before, they are looked at once, because one of
    /// them may have changed a moment ago.
    pub(super) fn watch(&mut self, files: BTreeSet<PathBuf>) {
        if self.files != files {
            self.files = files;
            self.is_pending = true;
        }
        if self.is_pending || self.problem.is_some() {
            self.watch_folders();
        }
    }

    /// The next time, the files are looked at without anything having happened, and count as changed.
    pub(super) fn look_again(&mut self) {
        self.known.clear();
        self.is_pending = true;
    }

    /// Returns when the contents have changed since they were looked at last, and do not change any more. Can be
    /// dropped and called again at any time.
    pub(super) async fn changed(&mut self) {
        loop {
            if !self.is_pending {
                self.happens().await;
                self.is_pending = true;
            }
            let until = self.clock.monotonic() + LONGEST;
            let mut left = LONGEST;
            while !left.is_zero() {
                let quiet = self.clock.sleep(left.min(QUIET));
                tokio::select! {
                    () = quiet => break,
                    () = self.happens() => {}
                }
                left = until.saturating_duration_since(self.clock.monotonic());
            }
            // Links may lead elsewhere now. What happens from here on is seen again.
            self.watch_folders();
            let contents = self.settled().await;
            self.is_pending = false;
            if contents != self.known {
                self.known = contents;
                return;
            }
        }
    }

    /// What is in the files when two readings are the same, or after a while.
    async fn settled(&self) -> Contents {
        let mut contents = self.read().await;
        for _ in 0..MOST_READINGS {
            self.clock.sleep(BETWEEN_READINGS).await;
            let again = self.read().await;
            if again == contents {
                break;
            }
            contents = again;
        }
        contents
    }

    async fn read(&self) -> Contents {
        let files = self.files.clone();
        // Where the files are on a file system that hangs, one thread waits for them, and not more and more.
        let turn = Arc::clone(&self.turns).acquire_owned().await;
        let read = move || {
            let _turn = turn;
            let hashed = files.into_iter().map(|path| {
                let bytes = read_regular(&path, MOST_BYTES).ok();
                (path, bytes.map(|bytes| Sha256::digest(bytes).into()))
            });
            hashed.collect()
        };
        // Nothing in it panics.
        tokio::task::spawn_blocking(read).await.unwrap_or_default()
    }

    fn watch_folders(&mut self) {
        // A new instance at each change is simpler than one that is kept up to date.
        let (folders, problem) = match Folders::of(&self.files) {
            Ok((folders, hidden)) => {
                let hidden = hidden.map(|folder| format!("{} may not be read", folder.display()));
                (Some(folders), hidden)
            }
            Err(error) => (None, Some(error.to_string())),
        };
        if let Some(problem) = problem.as_ref().filter(|_| self.problem != problem) {
            let which = if folders.is_some() { "some of " } else { "" };
            log::warn!(
                "{which}the settings' files are not watched ({problem}); SIGHUP and `offhook reload` still load them"
            );
        }
        (self.folders, self.problem) = (folders, problem);
    }

    /// Waits until something happens that may concern the files.
    async fn happens(&mut self) {
        let failed = match &self.folders {
            Some(folders) => folders.happens().await.is_err(),
            None => std::future::pending().await,
        };
        if failed {
            log::warn!("the settings' files are not watched any more; SIGHUP still loads them");
            self.folders = None;
        }
    }
}

/// So long nothing must have happened before the files are read.
const QUIET: Duration = Duration::from_millis(250);

/// After this time they are read although something happens.
const LONGEST: Duration = Duration::from_secs(2);

const BETWEEN_READINGS: Duration = Duration::from_millis(200);

/// What is longer is not read, and does not count.
const MOST_BYTES: u64 = 16 * 1024 * 1024;

/// So often they are read again when they differ.
const MOST_READINGS: usize = 10;

/// Only Linux tells what happens in folders.
#[cfg(not(target_os = "linux"))]
mod no_folders {
    use std::collections::BTreeSet;
    use std::io;
    use std::path::PathBuf;

    #[derive(Debug)]
    pub(super) struct Folders;

    impl Folders {
        pub(super) fn of(_: &BTreeSet<PathBuf>) -> io::Result<(Self, Option<PathBuf>)> {
            Err(io::ErrorKind::Unsupported.into())
        }

        pub(super) async fn happens(&self) -> io::Result<()> {
            std::future::pending().await
        }
    }
}

#[cfg(test)]
mod tests;

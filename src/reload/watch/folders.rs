//! [`Folders`]: the folders that Linux watches (inotify).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::{OsStr, OsString};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;
use tokio::io::unix::AsyncFd;

use super::places::places;

/// The folders that the system watches.
#[derive(Debug)]
pub(super) struct Folders {
    inotify: AsyncFd<OwnedFd>,
    /// The names that count in each of them.
    names: HashMap<i32, BTreeSet<OsString>>,
}

impl Folders {
    /// Watches the folders of these files. Also returns one that may not be read, if there is one: the folder above
    /// it is watched then, which tells when that changes.
    pub(super) fn of(files: &BTreeSet<PathBuf>) -> io::Result<(Self, Option<PathBuf>)> {
        let mut names_of: BTreeMap<PathBuf, BTreeSet<OsString>> = BTreeMap::new();
        for file in files {
            for (folder, name) in places(&std::path::absolute(file)?) {
                names_of.entry(folder).or_default().extend(name);
            }
        }
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let mut folders = HashMap::new();
        let mut hidden = None;
        while let Some((folder, names)) = names_of.pop_last() {
            let events = if names.is_empty() { GOES } else { HAPPENS };
            match inotify::add_watch(&inotify, &folder, events) {
                // The same folder may have several paths.
                Ok(id) => folders
                    .entry(id)
                    .or_insert_with(BTreeSet::new)
                    .extend(names),
                // Of a folder that is only a step on the way, less is to be seen.
                Err(Errno::ACCESS) if !names.is_empty() => {
                    if let (Some(above), Some(name)) = (folder.parent(), folder.file_name()) {
                        // It sorts before this one, so it is still to come.
                        let names = names_of.entry(above.to_owned()).or_default();
                        names.insert(name.to_owned());
                    }
                    hidden = Some(folder);
                }
                // It has gone in this moment.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::ACCESS) => {}
                Err(error) => return Err(error.into()),
            }
        }
        #[allow(
            deprecated,
            reason = "an OwnedFd stays open as long as it is there, which is all that `register`, an unsafe \
                      function, asks for"
        )]
        let inotify = AsyncFd::new(inotify)?;
        let folders = Self {
            inotify,
            names: folders,
        };
        Ok((folders, hidden))
    }

    /// Waits until something happens that counts.
    pub(super) async fn happens(&self) -> io::Result<()> {
        loop {
            let mut ready = self.inotify.readable().await?;
            let counts = self.read()?;
            if counts {
                return Ok(());
            }
            // All was read.
            ready.clear_ready();
        }
    }

    /// Reads what has happened. Returns at the first thing that counts.
    fn read(&self) -> io::Result<bool> {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut events = inotify::Reader::new(self.inotify.get_ref(), &mut buffer);
        loop {
            match events.next() {
                Ok(event) => {
                    let name = event
                        .file_name()
                        .map(|name| OsStr::from_bytes(name.to_bytes()));
                    let is_named = name.is_some_and(|name| {
                        let names = self.names.get(&event.wd());
                        names.is_some_and(|names| names.contains(name))
                    });
                    // Without a name it concerns the folder itself, or the system has lost events.
                    let is_of_folder =
                        name.is_none() && !event.events().contains(ReadFlags::IGNORED);
                    if is_named || is_of_folder {
                        return Ok(true);
                    }
                }
                Err(Errno::WOULDBLOCK) => return Ok(false),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// A folder that is only a step on the way went away.
const GOES: WatchFlags = WatchFlags::DELETE_SELF
    .union(WatchFlags::MOVE_SELF)
    .union(WatchFlags::MASK_ADD)
    .union(WatchFlags::ONLYDIR);

/// What the system tells: a file was written, came, or went, and so did the folder.
const HAPPENS: WatchFlags = WatchFlags::CLOSE_WRITE
    .union(WatchFlags::CREATE)
    .union(WatchFlags::DELETE)
    .union(WatchFlags::MOVE)
    .union(WatchFlags::ATTRIB)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MOVE_SELF)
    .union(WatchFlags::MASK_ADD)
    .union(WatchFlags::ONLYDIR);

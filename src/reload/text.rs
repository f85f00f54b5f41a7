//! [`FileText`]: what the settings file held. [`Loaded`]: what was made of it.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::error::Problems;
use crate::settings::{Certificates, MAX_FILE, Settings};
use crate::signature::read_regular;

/// The bytes of a file, and which file they were in.
pub(super) struct FileText {
    /// Its device and its number there.
    inode: (u64, u64),
    bytes: Vec<u8>,
}

impl FileText {
    /// What is in the file; nothing if it cannot be read.
    pub(super) fn of(path: &Path) -> Self {
        let inode = std::fs::metadata(path).map(|file| (file.dev(), file.ino()));
        Self {
            inode: inode.unwrap_or_default(),
            bytes: read_regular(path, MAX_FILE).unwrap_or_default(),
        }
    }

    /// Whether it is the beginning of `before` in the same file, as it is while that is written, or when the disk
    /// is full.
    pub(super) fn is_cut(&self, before: &Self) -> bool {
        let is_shorter = self.bytes.len() < before.bytes.len();
        self.inode == before.inode && is_shorter && before.bytes.starts_with(&self.bytes)
    }
}

/// The settings of a file, and what they were made of.
pub(super) struct Loaded {
    pub(super) text: FileText,
    pub(super) settings: Settings,
    /// Those that the settings name.
    pub(super) certificates: Certificates,
}

impl Loaded {
    /// Loads the file, if it can be loaded more than once.
    pub(super) fn from(path: &Path) -> Result<Self, Problems> {
        let kind = std::fs::metadata(path).map(|file| file.file_type());
        if kind.is_ok_and(|kind| !kind.is_file() && !kind.is_dir()) {
            let text = "is not a regular file, so it cannot be read again; restart offhook for other settings";
            return Err(Problems::at(path.display().to_string(), text));
        }
        let mut certificates = Certificates::default();
        let text = FileText::of(path);
        let (settings, problems) = Settings::load_with_certificates(path, &mut certificates)?;
        Problems::none_of(problems)?;
        Ok(Self {
            text,
            settings,
            certificates,
        })
    }
}

//! [`AppendFile`]: appends whole lines to the file that has a name.
//!
//! What must hold: after `Ok` the lines are on disk, in the file that the path named after they were written.
//! So a file that was renamed or removed, as logrotate does, is made again, and no line goes to a file that
//! can no longer be opened. A line that could not be written leaves no partial line behind, and what a
//! crash has left of one is not continued.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, OFlags, access, fcntl_setfl};
use rustix::io::Errno;

/// The file that `path` names.
#[derive(Debug)]
pub(crate) struct AppendFile {
    path: PathBuf,
    open: Option<OpenFile>,
}

impl AppendFile {
    /// Opens the file, and creates it if it is missing. A symbolic link is followed.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let opened = OpenFile::open(path).map_err(|error| explained(path, &error))?;
        Ok(Self {
            path: path.to_owned(),
            open: Some(opened),
        })
    }

    /// Appends whole lines. The error names the file.
    pub(crate) fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        let appended = self.append_to_named(lines);
        appended.map_err(|error| explained(&self.path, &error))
    }

    fn append_to_named(&mut self, lines: &[u8]) -> io::Result<()> {
        for _ in 0..MAX_TRIES {
            self.named()?.append(lines)?;
            // If it has lost its name since, the lines may be in no file. They are written again: after a
            // renaming they are in both files.
            if self.is_named() {
                return Ok(());
            }
        }
        Err(io::Error::other("the file is replaced again and again"))
    }

    /// The open file, if it still has the name; otherwise the one that has it now.
    fn named(&mut self) -> io::Result<&mut OpenFile> {
        if !self.is_named() {
            self.open = None;
        }
        match &mut self.open {
            Some(file) => Ok(file),
            none => Ok(none.insert(OpenFile::open(&self.path)?)),
        }
    }

    fn is_named(&self) -> bool {
        let open = self.open.as_ref();
        open.is_some_and(|open| open.has_name(&self.path).unwrap_or(false))
    }
}

/// Whether a file could be opened at `path`. Creates nothing.
pub(crate) fn check(path: &Path) -> io::Result<()> {
    let checked = match path.metadata() {
        Ok(found) if found.is_dir() => Err(ErrorKind::IsADirectory.into()),
        Ok(_) => access(path, Access::WRITE_OK).map_err(Into::into),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            access(folder_of(path), Access::WRITE_OK | Access::EXEC_OK).map_err(Into::into)
        }
        Err(error) => Err(error),
    };
    checked.map_err(|error| explained(path, &error))
}

/// The error with the path, and with what to do.
fn explained(path: &Path, error: &io::Error) -> io::Error {
    let shown = path.display();
    let text = match error.kind() {
        ErrorKind::NotFound => {
            let folder = std::path::absolute(folder_of(path)).unwrap_or_default();
            let folder = folder.display();
            format!("{shown}: there is no folder {folder}; make it, or name another file")
        }
        ErrorKind::IsADirectory => format!("{shown}: this is a folder; a file is needed"),
        _ if error.raw_os_error() == Some(Errno::NXIO.raw_os_error()) => {
            format!("{shown}: this is a FIFO that no program reads, or a socket")
        }
        _ => format!("{shown}: {error}"),
    };
    io::Error::new(error.kind(), text)
}

fn folder_of(path: &Path) -> &Path {
    let folder = path.parent().unwrap_or(path);
    if folder.as_os_str().is_empty() {
        Path::new(".")
    } else {
        folder
    }
}

/// A file that is open, whatever its name is now.
#[derive(Debug)]
struct OpenFile {
    file: File,
    path: PathBuf,
    /// Whether it may end within a line, so that the next lines must begin on a new one. The next write looks
    /// again: another handler, which a reload replaces, may have been writing that line.
    is_torn: bool,
}

impl OpenFile {
    fn open(path: &Path) -> io::Result<Self> {
        let is_new = !path.exists();
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            // A FIFO without a reader is an error, and does not hold the thread until one comes.
            .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
            .open(path)?;
        let metadata = file.metadata()?;
        // Writes to a FIFO or a terminal wait for its reader.
        fcntl_setfl(&file, OFlags::APPEND)?;
        if is_new && metadata.is_file() {
            // A new file is durable only when its folder is synchronised.
            File::open(folder_of(&path.canonicalize()?))?.sync_all()?;
        }
        let is_torn = metadata.is_file() && metadata.len() > 0 && ends_within_line(path);
        Ok(Self {
            file,
            path: path.to_owned(),
            is_torn,
        })
    }

    /// Whether `path` names this file.
    fn has_name(&self, path: &Path) -> io::Result<bool> {
        let (named, open) = (path.metadata()?, self.file.metadata()?);
        Ok((named.dev(), named.ino()) == (open.dev(), open.ino()))
    }

    fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        let before = self.file.metadata()?.len();
        let written = self.write_durably(lines);
        if written.is_ok() {
            self.is_torn = false;
        } else if self.cut_back(before, lines.len()).is_err() {
            self.is_torn = true;
        }
        written
    }

    fn write_durably(&mut self, lines: &[u8]) -> io::Result<()> {
        if self.is_torn && ends_within_line(&self.path) {
            self.file.write_all(b"\n")?;
        }
        self.file.write_all(lines)?;
        // Pipes and terminals cannot be synchronised and need not be.
        if self.file.metadata()?.is_file() {
            self.file.sync_data()?;
        }
        Ok(())
    }

    /// Removes what was written of `lines`.
    ///
    /// # Errors
    ///
    /// When it cannot be removed, or another program may have appended to the file since.
    fn cut_back(&self, before: u64, lines: usize) -> io::Result<()> {
        let grown = self.file.metadata()?.len().saturating_sub(before);
        if grown > lines as u64 + 1 {
            return Err(io::Error::other("other programs write to this file"));
        }
        if grown > 0 {
            self.file.set_len(before)?;
        }
        Ok(())
    }
}

/// Whether the last byte is no line feed, as a crash may leave it. A file that cannot be read may be such a
/// file.
fn ends_within_line(path: &Path) -> bool {
    let last = || {
        let mut last = [0];
        let mut file = File::open(path)?;
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
        io::Result::Ok(last)
    };
    last().map_or(true, |last| last != *b"\n")
}

/// How often lines are written again because the file was replaced meanwhile.
const MAX_TRIES: usize = 3;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    use std::process::Command;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    struct Folder(PathBuf);

    impl Folder {
        fn new() -> Self {
            static NUMBER: AtomicU32 = AtomicU32::new(0);
            let number = NUMBER.fetch_add(1, Ordering::Relaxed);
            let name = format!("offhook-append-{}-{number}", std::process::id());
            let path = std::env::temp_dir().join(name);
            std::fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn at(&self, name: &str) -> PathBuf {
            self.0.join(name)
        }

        fn text(&self, name: &str) -> String {
            std::fs::read_to_string(self.at(name)).unwrap()
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_renamed_or_removed_file_is_made_again() {
        let folder = Folder::new();
        let path = folder.at("lines");
        let mut file = AppendFile::open(&path).unwrap();
        file.append(b"1\n").unwrap();
        std::fs::rename(&path, folder.at("lines.1")).unwrap();
        file.append(b"2\n").unwrap();
        file.append(b"3\n").unwrap();
        assert_eq!(
            (
                folder.text("lines.1").as_str(),
                folder.text("lines").as_str()
            ),
            ("1\n", "2\n3\n")
        );
        std::fs::remove_file(&path).unwrap();
        file.append(b"4\n").unwrap();
        assert_eq!(folder.text("lines"), "4\n");
        let mode = path.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    /// As `copytruncate` of logrotate does, and `create`.
    #[test]
    fn a_file_that_others_cut_or_make_is_continued() {
        let folder = Folder::new();
        let path = folder.at("lines");
        let mut file = AppendFile::open(&path).unwrap();
        file.append(b"1\n").unwrap();
        std::fs::write(&path, "").unwrap();
        file.append(b"2\n").unwrap();
        assert_eq!(folder.text("lines"), "2\n");
        std::fs::rename(&path, folder.at("lines.1")).unwrap();
        std::fs::write(&path, "theirs").unwrap();
        file.append(b"3\n").unwrap();
        assert_eq!(folder.text("lines"), "theirs\n3\n");
    }

    #[test]
    fn a_link_is_followed_to_where_it_leads() {
        let folder = Folder::new();
        symlink(folder.at("one"), folder.at("link")).unwrap();
        let mut file = AppendFile::open(&folder.at("link")).unwrap();
        file.append(b"1\n").unwrap();
        std::fs::remove_file(folder.at("link")).unwrap();
        symlink(folder.at("two"), folder.at("link")).unwrap();
        file.append(b"2\n").unwrap();
        assert_eq!(
            (folder.text("one"), folder.text("two")),
            ("1\n".into(), "2\n".into())
        );
    }

    #[test]
    fn a_missing_folder_is_an_error_until_it_is_back() {
        let folder = Folder::new();
        let path = folder.at("sub/lines");
        let text = AppendFile::open(&path).unwrap_err().to_string();
        assert!(text.contains("there is no folder"), "{text}");
        assert_eq!(check(&path).unwrap_err().to_string(), text);
        std::fs::create_dir(folder.at("sub")).unwrap();
        let mut file = AppendFile::open(&path).unwrap();
        std::fs::rename(folder.at("sub"), folder.at("away")).unwrap();
        assert!(file.append(b"1\n").is_err());
        assert_eq!(folder.text("away/lines"), "");
        std::fs::rename(folder.at("away"), folder.at("sub")).unwrap();
        file.append(b"2\n").unwrap();
        assert_eq!(folder.text("sub/lines"), "2\n");
    }

    #[test]
    fn a_partial_line_is_not_continued() {
        let folder = Folder::new();
        let path = folder.at("lines");
        std::fs::write(&path, "1\nhal").unwrap();
        let mut file = AppendFile::open(&path).unwrap();
        file.append(b"2\n").unwrap();
        file.append(b"3\n").unwrap();
        assert_eq!(folder.text("lines"), "1\nhal\n2\n3\n");
    }

    #[test]
    fn a_line_that_another_finishes_is_left_alone() {
        let folder = Folder::new();
        let path = folder.at("lines");
        std::fs::write(&path, "hal").unwrap();
        let mut file = AppendFile::open(&path).unwrap();
        std::fs::write(&path, "half\n").unwrap();
        file.append(b"1\n").unwrap();
        assert_eq!(folder.text("lines"), "half\n1\n");
    }

    #[test]
    fn a_fifo_needs_a_reader() {
        let folder = Folder::new();
        let path = folder.at("fifo");
        let made = Command::new("mkfifo").arg(&path).status().unwrap();
        assert!(made.success());
        let text = AppendFile::open(&path).unwrap_err().to_string();
        assert!(text.contains("a FIFO that no program reads"), "{text}");
        let read = path.clone();
        let reader = std::thread::spawn(move || std::fs::read_to_string(read).unwrap());
        let mut file = loop {
            if let Ok(file) = AppendFile::open(&path) {
                break file;
            }
        };
        file.append(b"1\n").unwrap();
        drop(file);
        assert_eq!(reader.join().unwrap(), "1\n");
    }

    #[test]
    fn a_full_disk_is_an_error() {
        // Linux' device that is always full.
        let path = Path::new("/dev/full");
        if path.exists() {
            let mut file = AppendFile::open(path).unwrap();
            let text = file.append(b"1\n").unwrap_err().to_string();
            assert!(text.starts_with("/dev/full: "), "{text}");
        }
    }

    #[test]
    fn a_folder_is_no_file() {
        let folder = Folder::new();
        let text = check(&folder.0).unwrap_err().to_string();
        assert!(
            text.ends_with("this is a folder; a file is needed"),
            "{text}"
        );
        assert!(AppendFile::open(&folder.0).is_err());
        check(&folder.at("new")).unwrap();
        assert!(!folder.at("new").exists());
    }
}

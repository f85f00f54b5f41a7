//! [`read_regular`]: reads the files that settings are made of, so that none of them can hold up a server.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::fs::OFlags;
use rustix::io::Errno;

/// The longest file of a secret, a key or certificates, in bytes.
pub(crate) const MAX_SECRET_FILE: u64 = 1024 * 1024;

/// Reads a regular file of at most `most` bytes. A pipe is not waited for, and a device is not read.
///
/// # Errors
///
/// When it cannot be read, is no regular file, or is longer.
pub(crate) fn read_regular(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path)?;
    let kind = file.metadata()?.file_type();
    if kind.is_dir() {
        return Err(Errno::ISDIR.into());
    }
    if !kind.is_file() {
        let text = "it is not a regular file, and a pipe or a device cannot be read again";
        return Err(io::Error::other(text));
    }
    read_all(file, most)
}

/// Reads the rest of a file if that is at most `most` bytes.
///
/// # Errors
///
/// When it cannot be read, or is longer.
pub(crate) fn read_all(file: File, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(io::Error::other(format!(
            "it is longer than {} MiB",
            most >> 20
        )));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_regular_files_are_read() {
        let folder = std::env::temp_dir().join(format!("offhook-regular-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("file");
        std::fs::write(&path, vec![7; 1 << 20]).unwrap();
        assert_eq!(read_regular(&path, 1 << 20).unwrap().len(), 1 << 20);
        std::fs::write(&path, vec![7; (1 << 20) + 1]).unwrap();
        let long = read_regular(&path, 1 << 20).unwrap_err().to_string();
        assert_eq!(long, "it is longer than 1 MiB");
        let pipe = folder.join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        assert!(made.unwrap().success());
        for odd in [&*pipe, Path::new("/dev/zero")] {
            let text = read_regular(odd, 1).unwrap_err().to_string();
            assert!(text.starts_with("it is not a regular file"), "{text}");
        }
        let text = read_regular(&folder, 1).unwrap_err().to_string();
        assert!(text.starts_with("Is a directory"), "{text}");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}

//! [`Place`]: where a run took place.

use std::path::{Path, PathBuf};

use serde::Serialize;

/// Where a run took place.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Place {
    /// The kernel and its release.
    pub kernel: String,
    /// The type of the file system, or `unknown`.
    pub file_system: String,
    /// The folder that contains the run's folder.
    pub path: PathBuf,
}

impl Place {
    /// The place of a run with this folder.
    pub(crate) fn of(folder: &Path) -> Self {
        let system = rustix::system::uname();
        let (name, release) = (system.sysname(), system.release());
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let path = folder.parent().unwrap_or(folder);
        let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        Self {
            kernel: format!("{} {}", name.to_string_lossy(), release.to_string_lossy()),
            file_system: file_system(&mounts, &path).unwrap_or("unknown").to_owned(),
            path,
        }
    }
}

/// The type of the innermost mount that contains `path`. Of two mounts at one place, the later one
/// counts.
fn file_system<'a>(mounts: &'a str, path: &Path) -> Option<&'a str> {
    let mounts = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        Some((fields.next()?, fields.next()?))
    });
    let holding = mounts.filter(|(at, _)| path.starts_with(at));
    holding
        .max_by_key(|(at, _)| Path::new(at).components().count())
        .map(|(_, kind)| kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_mount_counts() {
        let mounts = "/dev/a / ext4 rw 0 0\ntmpfs /tmp tmpfs rw 0 0\n/dev/b /tmp/x xfs rw 0 0\n\
                      /dev/c /tmp/x btrfs rw 0 0\n";
        let of = |path| file_system(mounts, Path::new(path));
        assert_eq!(of("/var/lib"), Some("ext4"));
        assert_eq!(of("/tmpfoo"), Some("ext4"));
        assert_eq!(of("/tmp/y"), Some("tmpfs"));
        assert_eq!(of("/tmp/x/y"), Some("btrfs"));
        assert_eq!(file_system("", Path::new("/")), None);
    }
}

//! Tests what is seen of files, links and folders.

use std::fs;
use std::os::unix::fs::symlink;

use super::*;
use crate::clock::SystemClock;

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("offhook-watch-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path.canonicalize().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    async fn watch(&self, names: &[&str]) -> FileWatch {
        let files = names.iter().map(|name| self.path(name)).collect();
        FileWatch::new(files, Arc::new(SystemClock)).await
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

async fn changes(watch: &mut FileWatch) {
    let changed = tokio::time::timeout(Duration::from_secs(30), watch.changed());
    changed.await.expect("the change is seen");
}

async fn stays(watch: &mut FileWatch) {
    let changed = tokio::time::timeout(Duration::from_secs(1), watch.changed());
    assert!(changed.await.is_err(), "nothing has changed");
}

#[tokio::test]
async fn contents_count_and_nothing_else() {
    let folder = Folder::new("contents");
    folder.write("settings.toml", "1");
    let mut watch = folder.watch(&["settings.toml", "later"]).await;
    folder.write("settings.toml", "1");
    folder.write("other", "1");
    stays(&mut watch).await;
    folder.write("settings.toml", "2");
    changes(&mut watch).await;
    stays(&mut watch).await;
    // As editors do.
    folder.write("settings.toml.new", "3");
    fs::rename(
        folder.path("settings.toml.new"),
        folder.path("settings.toml"),
    )
    .unwrap();
    changes(&mut watch).await;
    folder.write("later", "1");
    changes(&mut watch).await;
    fs::remove_file(folder.path("later")).unwrap();
    changes(&mut watch).await;
}

#[tokio::test]
async fn a_swap_of_a_kubernetes_volume_is_seen() {
    let folder = Folder::new("kubernetes");
    let write = |number: &str| {
        let own = folder.path(&format!("..{number}"));
        fs::create_dir(&own).unwrap();
        fs::write(own.join("secret"), number).unwrap();
        symlink(format!("..{number}"), folder.path("..data_tmp")).unwrap();
        fs::rename(folder.path("..data_tmp"), folder.path("..data")).unwrap();
    };
    write("1");
    symlink("..data/secret", folder.path("secret")).unwrap();
    let mut watch = folder.watch(&["secret"]).await;
    for number in 2..5 {
        write(&number.to_string());
        fs::remove_dir_all(folder.path(&format!("..{}", number - 1))).unwrap();
        changes(&mut watch).await;
    }
    stays(&mut watch).await;
}

#[tokio::test]
async fn a_folder_that_vanished_is_watched_again() {
    let folder = Folder::new("vanished");
    let path = folder.path("a/b");
    let write = |text: &str| {
        fs::create_dir_all(&path).unwrap();
        fs::write(path.join("file"), text).unwrap();
    };
    write("1");
    let mut watch = folder.watch(&["a/b/file"]).await;
    fs::remove_dir_all(folder.path("a")).unwrap();
    changes(&mut watch).await;
    write("2");
    changes(&mut watch).await;
    fs::rename(folder.path("a"), folder.path("old")).unwrap();
    write("3");
    changes(&mut watch).await;
}

#[tokio::test]
async fn a_link_to_a_folder_is_followed() {
    let folder = Folder::new("link");
    for release in ["1", "2"] {
        fs::create_dir(folder.path(release)).unwrap();
        folder.write(&format!("{release}/file"), release);
    }
    symlink("1", folder.path("current")).unwrap();
    let mut watch = folder.watch(&["current/file"]).await;
    symlink("2", folder.path("next")).unwrap();
    fs::rename(folder.path("next"), folder.path("current")).unwrap();
    changes(&mut watch).await;
    folder.write("2/file", "3");
    changes(&mut watch).await;
}

#[tokio::test]
async fn a_call_that_is_dropped_loses_nothing() {
    let folder = Folder::new("dropped");
    folder.write("file", "1");
    let mut watch = folder.watch(&["file"]).await;
    folder.write("file", "2");
    let soon = tokio::time::timeout(Duration::from_millis(20), watch.changed());
    assert!(soon.await.is_err());
    changes(&mut watch).await;
}

#[tokio::test]
async fn other_files_are_looked_at_once() {
    let folder = Folder::new("others");
    folder.write("a", "1");
    folder.write("b", "1");
    let mut watch = folder.watch(&["a"]).await;
    watch.watch([folder.path("a"), folder.path("b")].into());
    changes(&mut watch).await;
    watch.watch([folder.path("a"), folder.path("b")].into());
    stays(&mut watch).await;
    folder.write("b", "2");
    changes(&mut watch).await;
}

/// The folder may be read again later. A superuser may read all folders, so the test gives that up.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_folder_that_may_not_be_read_is_looked_at_again() {
    use std::os::unix::fs::PermissionsExt as _;

    use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};

    let allow = |path: &std::path::Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    let folder = Folder::new("hidden");
    let hidden = folder.path("hidden");
    fs::create_dir(&hidden).unwrap();
    fs::write(hidden.join("file"), "1").unwrap();
    let old = capabilities(None).unwrap();
    let without = CapabilitySet::DAC_OVERRIDE | CapabilitySet::DAC_READ_SEARCH;
    let effective = old.effective.difference(without);
    set_capabilities(None, CapabilitySets { effective, ..old }).unwrap();
    allow(&hidden, 0o000);
    let mut watch = folder.watch(&["hidden/file"]).await;
    assert!(watch.problem.is_some());
    stays(&mut watch).await;
    allow(&hidden, 0o755);
    let seen = tokio::time::timeout(Duration::from_secs(30), watch.changed()).await;
    let is_watched = watch.problem.is_none();
    set_capabilities(None, old).unwrap();
    assert!(is_watched, "{seen:?}");
    fs::write(hidden.join("file"), "2").unwrap();
    changes(&mut watch).await;
}

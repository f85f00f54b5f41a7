//! Where a run works: the repository, its folders, its cores.

use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::process::end_all_on_signals;

/// The places of one run. The folders that are its own go with it.
pub(crate) struct Lab {
    /// The repository.
    pub(crate) root: PathBuf,
    /// What servers keep; on a real disk.
    pub(crate) folder: PathBuf,
    /// For Unix sockets, whose paths must be short.
    pub(crate) sockets: PathBuf,
    pub(crate) server_core: usize,
    pub(crate) database_core: usize,
    pub(crate) load_core: usize,
}

impl Lab {
    /// Makes the folders; `under` is where the servers' data should be.
    pub(crate) fn new(
        under: Option<&Path>,
        server_core: usize,
        database_core: usize,
        load_core: usize,
    ) -> anyhow::Result<Self> {
        let root = root();
        let own = format!("offhook-bench-{}", std::process::id());
        let under = under.map_or_else(|| root.join("target"), Path::to_path_buf);
        let folder = std::path::absolute(under)?.join(&own);
        let sockets = std::env::temp_dir().join(own);
        for folder in [&folder, &sockets] {
            let made = std::fs::create_dir_all(folder);
            made.with_context(|| format!("making {}", folder.display()))?;
        }
        let own = [folder.clone(), sockets.clone()];
        end_all_on_signals(move || remove(&own))?;
        Ok(Self {
            root,
            folder,
            sockets,
            server_core,
            database_core,
            load_core,
        })
    }

    /// An empty folder for a server.
    pub(crate) fn empty_folder(&self, name: &str) -> anyhow::Result<PathBuf> {
        let folder = self.folder.join(name);
        if folder.exists() {
            std::fs::remove_dir_all(&folder)?;
        }
        std::fs::create_dir_all(&folder)?;
        Ok(folder)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        remove(&[self.folder.clone(), self.sockets.clone()]);
    }
}

fn remove(folders: &[PathBuf]) {
    for folder in folders {
        if let Err(error) = std::fs::remove_dir_all(folder) {
            eprintln!("{} stays: {error}", folder.display());
        }
    }
}

/// The repository that this was built from.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

/// Where `setup` puts what it installs.
pub(crate) fn peers() -> PathBuf {
    root().join("target/bench-peers")
}

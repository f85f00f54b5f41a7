//! [`TempJournal`]: a folder for the journal of one test.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use uuid::Uuid;

use crate::settings::{JournalSettings, SqliteSettings};

/// A journal in a new folder of the system's temporary folder, which is removed when this is dropped.
///
/// Start a second server with the same one, after the first has stopped, to test what a restart does.
///
/// ```
/// # #[cfg(feature = "sqlite")]
/// # #[actix_web::main]
/// # async fn main() {
/// use std::time::Duration;
/// use offhook::signature::Secret;
/// use offhook::testing::{self, Recorder, TempJournal, TestEvent};
/// use offhook::{HandlerOptions, Offhook, Retry, Source};
///
/// let secret = Secret::new("a-long-secret").unwrap();
/// let (journal, recorder) = (TempJournal::new(), Recorder::default());
/// let mut retry = Retry::default();
/// retry.first = Duration::from_millis(10);
/// let server = testing::start(
///     Offhook::builder()
///         .journal(journal.settings())
///         .source(Source::new("gateway").secret(secret.clone()))
///         .handler_with("recorder", recorder.clone(), HandlerOptions::default().retry(retry)),
/// )
/// .await;
///
/// recorder.fail_next(1);
/// let event = TestEvent::message("+1234567890", "Hello!").sign(&secret);
/// assert_eq!(event.send(server.public_address()).await.status, 200);
///
/// // The attempt that failed, and the next one.
/// recorder.wait_for(2).await;
/// assert_eq!(recorder.deliveries()[1].attempt(), 2);
/// server.stop().await;
/// # }
/// # #[cfg(not(feature = "sqlite"))]
/// # fn main() {}
/// ```
#[derive(Debug)]
pub struct TempJournal(PathBuf);

impl TempJournal {
    /// Makes the folder. Only this user can read it.
    ///
    /// # Panics
    ///
    /// When the temporary folder cannot be written to.
    #[allow(clippy::panic, clippy::new_without_default)] // a test wants to fail here
    pub fn new() -> Self {
        let path = std::env::temp_dir().join(format!("offhook-test-{}", Uuid::now_v7()));
        let made = DirBuilder::new().mode(0o700).create(&path);
        made.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self(path)
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The settings of the engine `sqlite` in this folder, for [`Offhook::journal`](crate::Offhook::journal).
    pub fn settings(&self) -> JournalSettings {
        JournalSettings::Sqlite(SqliteSettings::new(&self.0))
    }
}

impl Drop for TempJournal {
    fn drop(&mut self) {
        // A folder that cannot be removed does no harm.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

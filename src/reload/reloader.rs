//! [`Reloader`]: the task that loads the settings again. Reloads happen one after the other.
//!
//! A reload is asked for by SIGHUP, by a request to the admin listener, or because the files have changed. What is
//! asked for while one runs is done by the next one, together.
//!
//! 1. The file is read, with everything that it names. What a program has changed in code stays
//!    (`overlay.rs`).
//! 2. The plan (`plan.rs`) says what changes. One key that needs a restart refuses all of it, so the settings
//!    that run are always those of one file.
//! 3. Everything new is prepared (`live.rs`). If any of it fails, nothing has changed.
//! 4. It is applied, which cannot fail, and told: in the log, the metrics, `/health` and the answer.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::Signal;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::live::{Live, NotPrepared, Stage};
use super::overlay::with_changes;
use super::plan::{Plan, summary};
use super::report::{Outcome, Report, Status};
use super::watch::FileWatch;
use crate::error::Problems;
use crate::settings::Settings;

/// The file that settings were read from.
#[derive(Debug, Clone)]
pub(crate) struct SettingsFile {
    pub(crate) path: PathBuf,
    /// What it said.
    pub(crate) said: Settings,
}

/// Loads the settings again.
pub(crate) struct Reloader {
    file: SettingsFile,
    running: Settings,
    live: Arc<Live>,
    status: Arc<Status>,
    requests: mpsc::Receiver<Request>,
    /// One reads files at a time.
    turns: Arc<Semaphore>,
    /// The last reload, while its consumers are still being changed.
    finishing: Option<JoinHandle<()>>,
    /// The last reload was refused because the journal was not ready.
    waits_for_journal: bool,
}

/// Asks for reloads.
#[derive(Debug, Clone)]
pub(crate) struct ReloadHandle {
    requests: mpsc::Sender<Request>,
}

#[derive(Debug)]
struct Request {
    /// Only says what would change.
    dry_run: bool,
    answer: oneshot::Sender<Arc<Report>>,
}

/// What asks for a reload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trigger {
    Signal,
    Request,
    Files,
    /// The files are looked at after the start, because they may have changed since they were read for it.
    Start,
    /// The journal was not ready for the last reload, and now it is.
    Journal,
}

impl Trigger {
    /// Whether somebody waits for this reload, or looks for what it says.
    fn is_asked(self) -> bool {
        matches!(self, Self::Signal | Self::Request)
    }
}

/// Why a reload cannot be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotAsked {
    Busy,
    Stopped,
}

impl ReloadHandle {
    /// Reloads the settings, or says what that would change. Returns what has come of it.
    pub(crate) async fn reload(&self, dry_run: bool) -> Result<Arc<Report>, NotAsked> {
        let (answer, answered) = oneshot::channel();
        let asked = self.requests.try_send(Request { dry_run, answer });
        asked.map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => NotAsked::Busy,
            mpsc::error::TrySendError::Closed(_) => NotAsked::Stopped,
        })?;
        answered.await.map_err(|_| NotAsked::Stopped)
    }
}

impl Reloader {
    /// `running` are the settings that `live` runs with.
    pub(crate) fn new(
        file: SettingsFile,
        running: Settings,
        live: Live,
        status: Arc<Status>,
    ) -> (Self, ReloadHandle) {
        let (sender, requests) = mpsc::channel(MOST_REQUESTS);
        let handle = ReloadHandle { requests: sender };
        let reloader = Self {
            file,
            running,
            live: Arc::new(live),
            turns: Arc::new(Semaphore::new(1)),
            status,
            requests,
            finishing: None,
            waits_for_journal: false,
        };
        (reloader, handle)
    }

    /// Runs until nobody can ask for a reload any more. `hangup` is SIGHUP.
    pub(crate) async fn run(mut self, mut hangup: Signal) {
        let path = self.file.path.clone();
        self.live.metrics().set_settings_stale(false);
        let files = tokio::task::spawn_blocking(move || Settings::files(&path)).await;
        let mut watch = FileWatch::new(files.unwrap_or_default()).await;
        let mut is_start = self.file.path.is_file();
        if is_start {
            watch.look_again();
        }
        loop {
            let mut asked = Vec::new();
            let trigger = tokio::select! {
                request = self.requests.recv() => match request {
                    Some(request) => {
                        asked.push(request);
                        Trigger::Request
                    }
                    None => return,
                },
                Some(()) = hangup.recv() => Trigger::Signal,
                () = watch.changed() => if std::mem::take(&mut is_start) {
                    Trigger::Start
                } else {
                    Trigger::Files
                },
                () = journal_is_ready(&self.live), if self.waits_for_journal => Trigger::Journal,
            };
            while let Ok(request) = self.requests.try_recv() {
                asked.push(request);
            }
            let (dry, wet): (Vec<_>, Vec<_>) = asked.into_iter().partition(|one| one.dry_run);
            if !dry.is_empty() {
                let (report, _) = self.reload(trigger, true).await;
                answer(dry, report);
            }
            if trigger != Trigger::Request || !wet.is_empty() {
                let (report, files) = self.reload(trigger, false).await;
                if let Some(files) = files {
                    watch.watch(files);
                }
                answer(wet, report);
            }
        }
    }

    /// Returns what has come of it, and the files that the settings are read from now, if that is known.
    async fn reload(
        &mut self,
        trigger: Trigger,
        dry_run: bool,
    ) -> (Report, Option<BTreeSet<PathBuf>>) {
        if let Some(finishing) = self.finishing.take() {
            // A panic in it was told.
            let _ = finishing.await;
        }
        let is_told = !dry_run && trigger != Trigger::Start;
        if is_told {
            self.live.tell(Stage::Begun);
        }
        if trigger == Trigger::Signal {
            log::info!("SIGHUP: loading {} again", self.file.path.display());
        }
        let path = self.file.path.clone();
        let read = move || (Settings::files(&path), load(&path));
        let (files, loaded) = match self.blocking(read).await {
            Ok((files, loaded)) => (Some(files), loaded),
            Err(problems) => (None, Err(problems)),
        };
        let report = match loaded {
            Ok(now) => self.take(now, trigger, dry_run).await,
            Err(problems) => self.report(Outcome::Invalid(problems)),
        };
        if !dry_run {
            self.waits_for_journal = matches!(report.outcome, Outcome::NotReady(_));
            self.tell(&report, trigger);
        }
        if is_told {
            let is_refused = report.outcome.is_refused();
            self.live.tell(Stage::Ended { is_refused });
        }
        (report, files)
    }

    /// Takes what the file says now, if it can be taken.
    async fn take(&mut self, now: Settings, trigger: Trigger, dry_run: bool) -> Report {
        self.status.read(now.fingerprint());
        let new = with_changes(&self.file.said, &self.running, now.clone());
        let plan = Plan::between(&self.running, &new);
        if !plan.restarts.is_empty() {
            return self.report(Outcome::RestartNeeded(plan.restarts));
        }
        if let Some(emptied) = plan.emptied.filter(|_| !trigger.is_asked()) {
            return self.report(Outcome::HalfWritten(emptied));
        }
        let (live, old) = (Arc::clone(&self.live), self.running.clone());
        let prepare = move || {
            let prepared = live.prepare(&old, &new, &plan, dry_run);
            (prepared, new, plan)
        };
        let (prepared, new, mut plan) = match self.blocking(prepare).await {
            Ok(prepared) => prepared,
            Err(problems) => return self.report(Outcome::Invalid(problems)),
        };
        let prepared = match prepared {
            Ok(prepared) => prepared,
            Err(NotPrepared::Invalid(problems)) => return self.report(Outcome::Invalid(problems)),
            Err(NotPrepared::NotReady(why)) => return self.report(Outcome::NotReady(why)),
        };
        plan.add_certificates(prepared.certificates());
        if plan.is_empty() {
            if !dry_run {
                self.file.said = now;
            }
            return self.report(Outcome::Unchanged);
        }
        if dry_run {
            return self.report(Outcome::WouldReload(plan.changes));
        }
        self.file.said = now;
        self.running = new;
        let rest = self.live.apply(prepared).await;
        let mut rest = tokio::spawn(rest);
        let is_finished = timeout(LONGEST_ANSWER, &mut rest).await.is_ok();
        self.finishing = (!is_finished).then_some(rest);
        self.status.runs(&self.running);
        self.report(Outcome::Reloaded {
            changes: plan.changes,
            is_finished,
        })
    }

    /// Does work that reads files, on a thread of its own. The files may be on a file system that hangs; then a
    /// reload ends without a result, as do the next ones until that thread has ended.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Problems> {
        let problem = |text: &str| Problems::at(self.file.path.display().to_string(), text);
        let Ok(turn) = Arc::clone(&self.turns).try_acquire_owned() else {
            return Err(problem(HANGS));
        };
        let work = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            work()
        });
        match timeout(LONGEST_WORK, work).await {
            Ok(Ok(result)) => Ok(result),
            // What a panic says may be a secret.
            Ok(Err(_)) => Err(problem(
                "offhook has a fault and could not load it; the log has a panic: report that",
            )),
            Err(_) => Err(problem(HANGS)),
        }
    }

    fn report(&self, outcome: Outcome) -> Report {
        Report {
            at: self.live.clock().now(),
            outcome,
            fingerprint: self.running.fingerprint(),
        }
    }

    fn tell(&self, report: &Report, trigger: Trigger) {
        let file = self.file.path.display();
        let is_usual = !trigger.is_asked() && !self.status.is_stale();
        match &report.outcome {
            Outcome::Reloaded { changes, .. } => {
                log::info!("settings reloaded: {}", summary(changes));
            }
            // The files were looked at after the start, or written as they were.
            Outcome::Unchanged if is_usual => return,
            Outcome::Unchanged => {
                log::info!("settings not reloaded: {file} says what runs already");
            }
            Outcome::WouldReload(_) => {}
            refused => {
                for problem in refused.problems() {
                    log::error!("{problem}");
                }
                log::error!(
                    "settings not reloaded; those of {} stay in force",
                    self.status.loaded_at()
                );
            }
        }
        let metrics = self.live.metrics();
        metrics.reloaded(report.outcome.name());
        metrics.set_settings_stale(report.outcome.is_refused());
        self.status.reloaded(report.clone());
    }
}

/// Loads the file, if it can be loaded more than once.
fn load(path: &Path) -> Result<Settings, Problems> {
    let kind = std::fs::metadata(path).map(|file| file.file_type());
    if kind.is_ok_and(|kind| !kind.is_file() && !kind.is_dir()) {
        let text =
            "is not a regular file, so it cannot be read again; restart offhook for other settings";
        return Err(Problems::at(path.display().to_string(), text));
    }
    Settings::load(path)
}

/// Returns when the journal is ready.
async fn journal_is_ready(live: &Live) {
    while live.not_ready().is_some() {
        sleep(JOURNAL_PAUSE).await;
    }
}

fn answer(requests: Vec<Request>, report: Report) {
    let report = Arc::new(report);
    for request in requests {
        // Nobody may wait for it any more.
        let _ = request.answer.send(Arc::clone(&report));
    }
}

/// How many requests wait for the next reload.
const MOST_REQUESTS: usize = 64;

/// How often the journal is looked at while a reload waits for it.
const JOURNAL_PAUSE: Duration = Duration::from_secs(1);

/// How long files may be read.
const LONGEST_WORK: Duration = Duration::from_secs(20);

const HANGS: &str =
    "it, or a file that it names, could not be read in time: does its file system hang?";

/// How long a reload is waited for that is applied, and still waits for running attempts to end.
const LONGEST_ANSWER: Duration = Duration::from_secs(20);

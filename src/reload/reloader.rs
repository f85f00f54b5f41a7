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
//! 4. It is applied, which cannot fail, and told: in the log, the metrics, `/health` and the answer. Consumers may
//!    need longer to finish their attempts. Only the answer waits for them; the next reload does not.
//!
//! A watched file may be half-written, and what is left may be valid. So what nobody has asked for is not taken if it
//! looks like that, and not before a while if it removes something ([`CONFIRMED_AFTER`]).

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::OptionFuture;
use tokio::signal::unix::Signal;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::live::{Live, NotPrepared, Stage};
use super::overlay::with_changes;
use super::plan::{Emptied, Plan, summary};
use super::report::{Outcome, Report, Status};
use super::text::{FileText, Loaded};
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
    /// What the file held when it was taken last.
    taken: Option<FileText>,
    /// What the watch has found and that removes something.
    unconfirmed: Option<Unconfirmed>,
    /// Work on consumers, and answers that wait for it. Ends with this.
    finishing: JoinSet<()>,
    /// The last reload was refused because the journal was not ready.
    waits_for_journal: bool,
}

/// Settings that remove something, unless they change again before `at`.
struct Unconfirmed {
    settings: Settings,
    at: Instant,
}

/// What has come of a reload.
struct Done {
    report: Report,
    /// The files that the settings are read from now, if that is known.
    files: Option<BTreeSet<PathBuf>>,
    /// Ends when all consumers go by the new settings.
    finished: Option<oneshot::Receiver<()>>,
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
    /// The files have stayed as they were when they were found to remove something.
    Unchanged,
    /// The journal was not ready for the last reload, and now it is.
    Journal,
}

impl Trigger {
    /// Who has changed the settings, in the log.
    fn actor(self) -> &'static str {
        match self {
            Self::Signal => "signal",
            Self::Request => "administrator",
            Self::Files | Self::Start | Self::Unchanged | Self::Journal => "file",
        }
    }

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
            taken: None,
            unconfirmed: None,
            finishing: JoinSet::new(),
            waits_for_journal: false,
        };
        (reloader, handle)
    }

    /// Runs until nobody can ask for a reload any more. `hangup` is SIGHUP.
    pub(crate) async fn run(mut self, mut hangup: Signal) {
        let path = self.file.path.clone();
        self.live.metrics().set_settings_stale(false);
        let read = move || {
            // A pipe would be waited for.
            let text = path.is_file().then(|| FileText::of(&path));
            (Settings::files(&path), text)
        };
        let (files, text) = tokio::task::spawn_blocking(read).await.unwrap_or_default();
        self.taken = text;
        let mut watch = FileWatch::new(files, Arc::clone(&self.live.clock)).await;
        let mut is_start = self.file.path.is_file();
        if is_start {
            watch.look_again();
        }
        while let Some((trigger, asked)) = self.next(&mut watch, &mut hangup).await {
            while self.finishing.try_join_next().is_some() {}
            let trigger = match trigger {
                Trigger::Files if std::mem::take(&mut is_start) => Trigger::Start,
                other => other,
            };
            let done = self.reload(trigger, false).await;
            if let Some(files) = done.files {
                watch.watch(files);
            }
            self.answer(asked, done.report, done.finished);
        }
    }

    /// Waits until something asks for a reload; `None` if nobody can any more. Dry runs are answered here, so that
    /// they do not hold up the watch.
    async fn next(
        &mut self,
        watch: &mut FileWatch,
        hangup: &mut Signal,
    ) -> Option<(Trigger, Vec<Request>)> {
        let mut changed = pin!(watch.changed());
        loop {
            let clock = self.live.clock();
            let confirmed = self
                .unconfirmed
                .as_ref()
                .map(|found| clock.sleep(found.at.saturating_duration_since(clock.monotonic())));
            let mut asked = Vec::new();
            let mut trigger = tokio::select! {
                request = self.requests.recv() => {
                    asked.push(request?);
                    None
                }
                Some(()) = hangup.recv() => Some(Trigger::Signal),
                () = &mut changed => Some(Trigger::Files),
                Some(()) = OptionFuture::from(confirmed) => Some(Trigger::Unchanged),
                () = journal_is_ready(&self.live), if self.waits_for_journal => Some(Trigger::Journal),
            };
            while let Ok(request) = self.requests.try_recv() {
                asked.push(request);
            }
            let (dry, wet): (Vec<_>, Vec<_>) = asked.into_iter().partition(|one| one.dry_run);
            if !dry.is_empty() {
                let done = self.reload(Trigger::Request, true).await;
                self.answer(dry, done.report, None);
            }
            // Whatever else has happened, somebody has asked for it.
            if !wet.is_empty() && trigger != Some(Trigger::Signal) {
                trigger = Some(Trigger::Request);
            }
            if let Some(trigger) = trigger {
                return Some((trigger, wet));
            }
        }
    }

    async fn reload(&mut self, trigger: Trigger, dry_run: bool) -> Done {
        let is_told = !dry_run && trigger != Trigger::Start;
        if is_told {
            self.live.tell(Stage::Begun);
        }
        if trigger == Trigger::Signal {
            log::info!(actor = "signal"; "SIGHUP: loading {} again", self.file.path.display());
        }
        let path = self.file.path.clone();
        let read = move || (Settings::files(&path), Loaded::from(&path));
        let (files, loaded) = match self.blocking(read).await {
            Ok((files, loaded)) => (Some(files), loaded),
            Err(problems) => (None, Err(problems)),
        };
        let (report, finished) = match loaded {
            Ok(loaded) => self.take(loaded, trigger, dry_run).await,
            Err(problems) => (self.report(Outcome::Invalid(problems)), None),
        };
        if !dry_run {
            if !matches!(report.outcome, Outcome::Unconfirmed) {
                self.unconfirmed = None;
            }
            self.waits_for_journal = matches!(report.outcome, Outcome::NotReady(_));
            self.tell(&report, trigger);
        }
        if is_told {
            let is_refused = report.outcome.is_refused();
            self.live.tell(Stage::Ended { is_refused });
        }
        Done {
            report,
            files,
            finished,
        }
    }

    /// Takes what the file says now, if it can be taken.
    async fn take(
        &mut self,
        loaded: Loaded,
        trigger: Trigger,
        dry_run: bool,
    ) -> (Report, Option<oneshot::Receiver<()>>) {
        let Loaded {
            text,
            settings: now,
            mut certificates,
        } = loaded;
        self.status.read(now.fingerprint());
        let new = with_changes(&self.file.said, &self.running, now.clone());
        let plan = Plan::between(&self.running, &new);
        if !plan.restarts.is_empty() {
            return (self.report(Outcome::RestartNeeded(plan.restarts)), None);
        }
        if !dry_run && let Some(doubt) = self.doubt(&text, &now, &plan, trigger) {
            return (self.report(doubt), None);
        }
        let (live, old) = (Arc::clone(&self.live), self.running.clone());
        let prepare = move || {
            let prepared = live.prepare(&old, &new, &mut certificates, &plan, dry_run);
            (prepared, new, plan)
        };
        let (prepared, new, mut plan) = match self.blocking(prepare).await {
            Ok(prepared) => prepared,
            Err(problems) => return (self.report(Outcome::Invalid(problems)), None),
        };
        let prepared = match prepared {
            Ok(prepared) => prepared,
            Err(NotPrepared::Invalid(problems)) => {
                return (self.report(Outcome::Invalid(problems)), None);
            }
            Err(NotPrepared::NotReady(why)) => return (self.report(Outcome::NotReady(why)), None),
        };
        plan.add_files(prepared.files());
        if dry_run {
            let outcome = match plan.is_empty() {
                true => Outcome::Unchanged,
                false => Outcome::WouldReload(plan.changes),
            };
            return (self.report(outcome), None);
        }
        self.taken = Some(text);
        self.file.said = now;
        if plan.is_empty() {
            return (self.report(Outcome::Unchanged), None);
        }
        self.running = new;
        let rest = self.live.apply(prepared).await;
        let (end, finished) = oneshot::channel();
        self.finishing.spawn(async move {
            rest.await;
            // Nobody may wait for it any more.
            let _ = end.send(());
        });
        self.status.runs(&self.running);
        self.live.runs(self.status.fingerprint());
        let outcome = Outcome::Reloaded {
            changes: plan.changes,
            is_finished: false,
        };
        (self.report(outcome), Some(finished))
    }

    /// Why what was found is not taken, or not yet: it looks like a half-written file.
    fn doubt(
        &mut self,
        text: &FileText,
        now: &Settings,
        plan: &Plan,
        trigger: Trigger,
    ) -> Option<Outcome> {
        let before = self.unconfirmed.take();
        if trigger.is_asked() || plan.is_empty() {
            return None;
        }
        let is_cut = self.taken.as_ref().is_some_and(|taken| text.is_cut(taken));
        let emptied = plan.emptied.or(is_cut.then_some(Emptied::End));
        if let Some(emptied) = emptied {
            let file = self.file.path.display().to_string();
            return Some(Outcome::HalfWritten(Problems::at(
                file,
                emptied.to_string(),
            )));
        }
        let time = self.live.clock().monotonic();
        let same = before.filter(|found| found.settings == *now);
        let at = same.map_or(time + CONFIRMED_AFTER, |found| found.at);
        if !plan.removes() || at <= time {
            return None;
        }
        let settings = now.clone();
        self.unconfirmed = Some(Unconfirmed { settings, at });
        Some(Outcome::Unconfirmed)
    }

    /// Answers when the consumers go by the new settings, or after a while.
    fn answer(
        &mut self,
        requests: Vec<Request>,
        mut report: Report,
        finished: Option<oneshot::Receiver<()>>,
    ) {
        let Some(finished) = finished.filter(|_| !requests.is_empty()) else {
            return answer(requests, report);
        };
        self.finishing.spawn(async move {
            let in_time = timeout(LONGEST_ANSWER, finished).await;
            if let Outcome::Reloaded { is_finished, .. } = &mut report.outcome {
                *is_finished = matches!(in_time, Ok(Ok(())));
            }
            answer(requests, report);
        });
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
                let (actor, settings) = (trigger.actor(), &*report.fingerprint);
                log::info!(actor, settings; "settings reloaded: {}", summary(changes));
            }
            // The files were looked at after the start, or written as they were.
            Outcome::Unchanged if is_usual => return,
            Outcome::Unconfirmed => {
                log::info!(
                    "{file} removes a source or a consumer; it is loaded if it stays like that for {CONFIRMED_AFTER:?}, \
                     or at once by `offhook reload`"
                );
                return;
            }
            Outcome::Unchanged if self.status.is_stale() => {
                log::info!("{file} can be taken again, and says what runs: nothing has changed");
            }
            Outcome::Unchanged => log::info!("nothing to reload: {file} says what runs already"),
            Outcome::WouldReload(_) => {}
            refused => {
                for problem in refused.problems() {
                    log::error!("{problem}");
                }
                log::error!(
                    actor = trigger.actor();
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

/// Returns when the journal is ready.
async fn journal_is_ready(live: &Live) {
    while live.not_ready().is_some() {
        live.clock().sleep(JOURNAL_PAUSE).await;
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

/// How long a watched file must stay as it is if it removes something: removed subscriptions lose their events.
const CONFIRMED_AFTER: Duration = Duration::from_secs(3);

/// How long files may be read.
const LONGEST_WORK: Duration = Duration::from_secs(20);

const HANGS: &str =
    "it, or a file that it names, could not be read in time: does its file system hang?";

/// How long an answer waits for running attempts to end.
const LONGEST_ANSWER: Duration = Duration::from_secs(20);

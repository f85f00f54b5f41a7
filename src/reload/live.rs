//! [`Live`]: the parts of a running server that a reload changes.
//!
//! First everything new is built (`prepare`), which may fail and changes nothing. Then it is applied, which cannot
//! fail, in this order, so that a crash at any moment loses nothing:
//!
//! 1. New handlers and subscriptions start, at the newest event: they get what comes from here on. This waits for
//!    nothing but the journal, and for that at most [`LONGEST_START`].
//! 2. Sources, limits, tokens and certificates change, each with one store. Gateways that are new or changed are
//!    told where to send.
//! 3. Changed consumers finish their attempts, then start with the new options where they were. Those that did
//!    not change are left alone.
//! 4. Handlers that are not in the settings any more finish their attempts; their progress is kept. Subscriptions
//!    that are not are removed.
//!
//! The last two steps may take as long as an attempt. No later reload waits for them: what concerns the same
//! consumer is done one after the other, and everything else at once.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::{BoxFuture, join, join_all};
use rustix::fs::Access;
use tokio::time::timeout;

use super::handlers::{HandlerChanges, MakeConsumer};
use super::plan::{ChangedFiles, How, Kind, Plan};
use crate::clock::Clock;
use crate::dispatch::{Consumer, Outcome};
use crate::engine::{InlineEngine, Pipeline, Retention};
use crate::error::Problems;
use crate::gateway::Registrars;
use crate::ingress::{Ingress, NextSources};
use crate::relay::{NextRelay, Registry};
use crate::settings::{Certificates, HandlerSettings, Settings, Use};
use crate::signature::Limits;
use crate::telemetry::{Metrics, logging};
use crate::{Error, EventHandler};

/// The parts that a reload changes.
pub(crate) struct Live {
    pub(crate) ingress: Arc<Ingress>,
    pub(crate) pipeline: Option<Arc<Pipeline>>,
    /// The engine, where there is no pipeline.
    pub(crate) inline: Option<Arc<InlineEngine>>,
    pub(crate) registry: Option<Arc<Registry>>,
    pub(crate) registrars: Arc<Registrars>,
    pub(crate) handlers: Mutex<HandlerChanges>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) clock: Arc<dyn Clock>,
    /// The names of the handlers that a program has added.
    pub(crate) in_code: Vec<String>,
    pub(crate) ready_made: ReadyMade,
    pub(crate) listeners: PrepareListeners,
    pub(crate) tell: TellStage,
}

/// Hears of each reload that was asked for, or that changed files have caused.
pub(crate) type TellStage = Box<dyn Fn(Stage) + Send + Sync>;

/// Where a reload is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    Begun,
    Ended { is_refused: bool },
}

/// Builds what the settings say of the listeners, such as their certificates.
pub(crate) type PrepareListeners =
    Box<dyn Fn(&Settings, &mut Certificates) -> Result<PreparedListeners, Problems> + Send + Sync>;

/// What the listeners are to go by.
pub(crate) struct PreparedListeners {
    /// Only stores it.
    pub(crate) apply: Box<dyn FnOnce() + Send>,
    /// What their certificates are read from, as far as it holds something else.
    pub(crate) files: Vec<ChangedFiles>,
}

/// Makes a handler of the settings.
pub(crate) type ReadyMade = fn(&HandlerSettings) -> Result<Arc<dyn EventHandler>, Error>;

/// What is applied.
pub(super) struct Prepared {
    settings: Settings,
    sources: Option<NextSources>,
    listeners: PreparedListeners,
    added: Vec<(String, MakeConsumer)>,
    changed: Vec<(String, MakeConsumer)>,
    /// The names of the consumers that are not in the settings any more.
    removed: Vec<String>,
    relay: Option<NextRelay>,
}

/// Why a plan is not prepared.
pub(super) enum NotPrepared {
    Invalid(Problems),
    /// Consumers cannot change now, though they may later.
    NotReady(&'static str),
}

impl From<Problems> for NotPrepared {
    fn from(problems: Problems) -> Self {
        Self::Invalid(problems)
    }
}

impl Prepared {
    /// The files that hold something else, though the settings may be as they were.
    pub(super) fn files(&self) -> &[ChangedFiles] {
        &self.listeners.files
    }
}

impl Live {
    pub(super) fn clock(&self) -> &dyn Clock {
        self.clock.as_ref()
    }

    pub(super) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Builds everything that `plan` changes. For a dry run no file is created.
    pub(super) fn prepare(
        &self,
        old: &Settings,
        new: &Settings,
        certificates: &mut Certificates,
        plan: &Plan,
        dry_run: bool,
    ) -> Result<Prepared, NotPrepared> {
        let in_code: Vec<&str> = self.in_code.iter().map(String::as_str).collect();
        new.check(&in_code, certificates)?;
        let concerns_relay = plan.concerns(Kind::Subscription)
            || (&old.relay, &old.dispatch) != (&new.relay, &new.dispatch);
        if concerns_relay || plan.concerns(Kind::Handler) {
            self.not_ready()
                .map_or(Ok(()), |why| Err(NotPrepared::NotReady(why)))?;
        }
        let mut prepared = Prepared {
            settings: new.clone(),
            sources: None,
            listeners: (self.listeners)(new, certificates)?,
            added: Vec::new(),
            changed: Vec::new(),
            removed: Vec::new(),
            relay: None,
        };
        if let Some(registry) = self.registry.as_ref().filter(|_| concerns_relay) {
            let next = registry.prepare(&new.relay, &new.subscriptions, &new.dispatch);
            let next = next.map_err(|error| Problems::at("relay", error.to_string()))?;
            prepared.relay = Some(next);
        }
        self.prepare_handlers(new, plan, dry_run, &mut prepared)?;
        // Last, because sources that are prepared have series in the metrics.
        if plan.concerns(Kind::Source) || old.server != new.server {
            let limits = Limits {
                max_body: new.server.max_body,
                request_timeout: new.server.request_timeout,
                min_body_rate: new.server.min_body_rate,
                in_flight: self.ingress.in_flight().clone(),
            };
            prepared.sources = Some(
                self.ingress
                    .prepare(new.sources.clone(), &limits, dry_run)?,
            );
        }
        Ok(prepared)
    }

    /// Why consumers cannot change now: one cannot start while the journal cannot say how far it had come.
    pub(super) fn not_ready(&self) -> Option<&'static str> {
        self.ingress.not_ready()
    }

    pub(super) fn tell(&self, stage: Stage) {
        (self.tell)(stage);
    }

    fn prepare_handlers(
        &self,
        new: &Settings,
        plan: &Plan,
        dry_run: bool,
        prepared: &mut Prepared,
    ) -> Result<(), Problems> {
        let changes = plan.changes.iter();
        for change in changes.filter(|change| change.kind == Kind::Handler) {
            let list = match change.how {
                How::Added => &mut prepared.added,
                How::Changed(_) => &mut prepared.changed,
                How::Removed => {
                    prepared.removed.push(consumer_name(&change.name));
                    continue;
                }
            };
            let mut handlers = new.handlers.iter();
            let handler = handlers.find(|handler| handler.name == change.name);
            let Some(handler) = handler else { continue };
            match &handler.used {
                Use::Jsonl { path } if dry_run && !path.exists() => check_creatable(path)?,
                _ => list.push((consumer_name(&handler.name), self.maker(handler, new)?)),
            }
        }
        Ok(())
    }

    fn maker(&self, handler: &HandlerSettings, new: &Settings) -> Result<MakeConsumer, Problems> {
        let made = (self.ready_made)(handler);
        let made = made.map_err(|error| Problems::at("handlers", error.to_string()))?;
        let name = consumer_name(&handler.name);
        let options = handler.options.clone().or(&new.dispatch);
        let (metrics, clock) = (Arc::clone(&self.metrics), Arc::clone(&self.clock));
        Ok(Arc::new(move || {
            let (handler, clock) = (Arc::clone(&made), Arc::clone(&clock));
            Consumer::new(name.clone(), handler, options.clone(), &metrics, clock)
        }))
    }

    /// Applies everything that concerns requests, and starts what is new. The future that is returned applies the
    /// rest.
    pub(super) async fn apply(&self, prepared: Prepared) -> BoxFuture<'static, ()> {
        let Prepared {
            settings,
            sources,
            listeners,
            added,
            changed,
            removed,
            relay,
        } = prepared;
        if let Some(inline) = &self.inline {
            let made = added.iter().chain(&changed).map(|(_, make)| make());
            inline.replace(&removed, made.collect());
            for name in &removed {
                self.metrics.consumer_removed(name, &Outcome::NAMES);
            }
        }
        let (new, mut others) = self.handler_work(added, changed, removed);
        let registry = self.registry.clone().zip(relay);
        let mut starting = Box::pin(join(join_all(new), async move {
            let (registry, relay) = registry?;
            let begun = registry.begin(relay).await?;
            Some((registry, begun))
        }));
        let started = timeout(LONGEST_START, &mut starting).await;
        if started.is_err() {
            log::warn!(
                "new consumers have not started within {LONGEST_START:?}; the other settings do not wait for them"
            );
        }
        logging::configure(&settings.log);
        self.ingress.refused().set_limits(&settings.refused);
        self.replace_sources(&settings, sources);
        (listeners.apply)();
        self.registrars.replace(&settings.gateways);
        others.push(Box::pin(async move {
            let started = match started {
                Ok(started) => started,
                Err(_) => starting.await,
            };
            if let (_, Some((registry, begun))) = started {
                registry.finish(begun).await;
            }
        }));
        Box::pin(async move {
            join_all(others).await;
        })
    }

    /// What is to be done for handlers: first for those that are new, then for all others.
    fn handler_work(
        &self,
        added: Vec<(String, MakeConsumer)>,
        changed: Vec<(String, MakeConsumer)>,
        removed: Vec<String>,
    ) -> (Vec<Work>, Vec<Work>) {
        let (mut new, mut others) = (Vec::new(), Vec::new());
        let Some(pipeline) = &self.pipeline else {
            return (new, others);
        };
        let running = pipeline.consumers();
        // No panic can leave it half-changed.
        let mut handlers = self.handlers.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = added.into_iter().chain(changed);
        let wanted = wanted.map(|(name, make)| (name, Some(make)));
        for (name, make) in wanted.chain(removed.into_iter().map(|name| (name, None))) {
            // One that was removed a moment ago may still run.
            let is_new = !running.iter().any(|one| one.name() == name);
            let work: Work = Box::pin(handlers.want(&name, make, pipeline));
            if is_new {
                new.push(work);
            } else {
                others.push(work);
            }
        }
        (new, others)
    }

    /// Tells other instances which settings run.
    pub(super) fn runs(&self, fingerprint: String) {
        let cluster = self.pipeline.as_ref().and_then(|all| all.cluster());
        if let Some(cluster) = cluster {
            cluster.runs(fingerprint);
        }
    }

    /// Budgets and readers first, so that the first request to a new source finds them.
    fn replace_sources(&self, settings: &Settings, sources: Option<NextSources>) {
        let server = &settings.server;
        self.ingress.in_flight().resize(server.max_in_flight);
        if let Some(pipeline) = &self.pipeline {
            pipeline.large().resize(server.max_in_flight);
            let readers = settings.sources.iter();
            let readers = readers.map(|source| source.named_reader(server.max_body));
            pipeline.decoder().replace(readers, server.max_body);
            if let Some(kept) = settings.journal.kept() {
                pipeline.set_retention(Retention {
                    age: kept.retention,
                    bytes: kept.retention_size,
                });
            }
        }
        if let Some(sources) = sources {
            self.ingress.replace(sources);
        }
    }
}

/// Work on one consumer.
type Work = BoxFuture<'static, ()>;

/// How long sources and secrets wait for consumers that are new.
pub(super) const LONGEST_START: Duration = Duration::from_secs(5);

/// Whether this file could be created.
fn check_creatable(path: &Path) -> Result<(), Problems> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    rustix::fs::access(folder, Access::WRITE_OK | Access::EXEC_OK).map_err(|error| {
        let folder = folder.display();
        let text = format!(
            "{}: the folder {folder} cannot be written: {error}",
            path.display()
        );
        Problems::at("handlers", text)
    })
}

fn consumer_name(handler: &str) -> String {
    format!("handler:{handler}")
}

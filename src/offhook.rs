//! [`Offhook`]: the builder that puts sources and handlers together and runs them. `offhook/engine.rs` builds the
//! engine.

mod engine;
#[cfg(all(feature = "sqlite", feature = "postgres"))]
mod migrate;

pub(crate) use engine::ready_made;
#[cfg(all(feature = "sqlite", feature = "postgres"))]
pub use migrate::migrate;

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::runtime::Handle;

use crate::admin::CurrentAccess;
use crate::clock::{Clock, SystemClock};
use crate::dispatch::HandlerOptions;
use crate::engine::{Pipeline, watch_elsewhere};
use crate::ingress::{Ingress, Silence};
use crate::journal::Journal;
use crate::refused::RefusedRequests;
use crate::relay::Registry;
use crate::reload::{SettingsFile, Status};
use crate::server::{self, Parts, Receiver, Reloading, Server};
use crate::settings::{Certificates, JournalSettings, Settings};
use crate::signature::{InFlight, Limits, Secret};
use crate::telemetry::{Metrics, logging};
use crate::{Error, EventHandler, Source};

/// Builds a webhook receiver.
///
/// With a settings file:
///
/// ```no_run
/// use offhook::{async_trait, Delivery, EventHandler, HandlerError, MessageEvent, Offhook};
///
/// struct Greeter;
///
/// #[async_trait]
/// impl EventHandler for Greeter {
///     async fn message(&self, event: &MessageEvent, _: &Delivery) -> Result<(), HandlerError> {
///         println!("New message from {}: {}", event.from(), event.message());
///         Ok(())
///     }
/// }
///
/// #[actix_web::main]
/// async fn main() -> Result<(), offhook::Error> {
///     Offhook::from_settings("settings.toml")?.handler("greeter", Greeter).run().await
/// }
/// ```
///
/// Or in code only, with [`Offhook::builder`].
pub struct Offhook {
    settings: Settings,
    handlers: Vec<(String, Arc<dyn EventHandler>, HandlerOptions)>,
    /// A journal that the program provides.
    journal: Option<Arc<dyn Journal>>,
    clock: Arc<dyn Clock>,
    /// Where the settings come from.
    file: Option<SettingsFile>,
}

impl Offhook {
    /// Reads sources, listeners and ready-made handlers from a settings file, and applies the
    /// `OFFHOOK__…` environment variables.
    ///
    /// # Errors
    ///
    /// When the settings are invalid. The error lists every problem, not only the first.
    pub fn from_settings(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        Ok(Self::new(Settings::load(path)?).reload_from(path))
    }

    /// Starts from the default settings, without a file: no sources, no handlers, listeners on
    /// 127.0.0.1:5000 and 127.0.0.1:5001.
    pub fn builder() -> Self {
        Self::new(Settings::with_admin())
    }

    /// Starts from existing settings.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            handlers: Vec::new(),
            journal: None,
            clock: Arc::new(SystemClock),
            file: None,
        }
    }

    /// Loads the settings again from this file while the server runs: when the file changes, on SIGHUP, and when
    /// the admin API is asked to. The settings so far must be what the file says. What is changed afterwards in
    /// code stays after a reload. [`Offhook::from_settings`] has already done this.
    pub fn reload_from(mut self, path: impl Into<PathBuf>) -> Self {
        self.file = Some(SettingsFile {
            path: path.into(),
            said: self.settings.clone(),
        });
        self
    }

    /// Adds a source.
    pub fn source(mut self, source: Source) -> Self {
        self.settings.sources.push(source);
        self
    }

    /// Adds a handler for every received event. Its name appears in logs and metrics.
    pub fn handler(self, name: impl Into<String>, handler: impl EventHandler) -> Self {
        self.handler_with(name, handler, HandlerOptions::default())
    }

    /// Adds a handler with its own options.
    pub fn handler_with(
        mut self,
        name: impl Into<String>,
        handler: impl EventHandler,
        options: HandlerOptions,
    ) -> Self {
        self.handlers
            .push((name.into(), Arc::new(handler), options));
        self
    }

    /// Sets the address to listen on for webhooks; port 0 picks a free port. Default: 127.0.0.1:5000.
    pub fn bind(mut self, address: impl Into<SocketAddr>) -> Self {
        self.settings.server.bind = address.into();
        self
    }

    /// Sets the address of the admin listener; port 0 picks a free port. Default: 127.0.0.1:5001.
    pub fn admin_bind(mut self, address: impl Into<SocketAddr>) -> Self {
        self.settings.admin.get_or_insert_default().bind = address.into();
        self
    }

    /// Requires this token on the admin listener.
    pub fn admin_token(mut self, token: Secret) -> Self {
        self.settings.admin.get_or_insert_default().token = Some(token);
        self
    }

    /// Turns the admin listener off.
    pub fn without_admin(mut self) -> Self {
        self.settings.admin = None;
        self
    }

    /// Sets where events are stored, or that they are not. Default: the folder `data`.
    pub fn journal(mut self, journal: JournalSettings) -> Self {
        self.settings.journal = journal;
        self
    }

    /// Stores events in a journal that the program provides, instead of the folder in the settings: see
    /// [`journal`](crate::journal). The dedup windows and the retention of the settings apply. Such a
    /// journal has no search, so the admin API cannot list events. With `journal.engine = "none"` it is
    /// not used.
    pub fn custom_journal(mut self, journal: Arc<dyn Journal>) -> Self {
        self.journal = Some(journal);
        self
    }

    /// Changes any setting.
    pub fn configure(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        change(&mut self.settings);
        self
    }

    /// Applies the `OFFHOOK__…` environment variables to settings made in code.
    /// [`Offhook::from_settings`] has already done so.
    ///
    /// # Errors
    ///
    /// When the settings are invalid. The error lists every problem, not only the first.
    pub fn environment(mut self) -> Result<Self, Error> {
        self.settings = self.settings.with_environment()?;
        Ok(self)
    }

    /// Uses another clock.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// The current settings.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Builds all but the listeners, to mount in your own actix `App`: no signal handling either.
    ///
    /// If called inside a tokio or actix runtime, sources are watched for silence
    /// ([`Source::quiet_after`]) as long as that runtime runs.
    ///
    /// # Errors
    ///
    /// When the settings are invalid, or a ready-made handler cannot start.
    pub fn receiver(self) -> Result<Receiver, Error> {
        let receiver = self.build()?;
        let ingress = &receiver.parts().ingress;
        if let Ok(home) = Handle::try_current() {
            ingress.watch(&home);
        } else if ingress.silence().is_watched() {
            log::warn!("quiet_after: sources are not watched: there is no runtime yet");
        }
        Ok(receiver)
    }

    /// Binds the listeners and serves in the background until [`Server::stop`].
    ///
    /// # Errors
    ///
    /// As [`Offhook::receiver`], and when the server cannot listen on an address.
    pub async fn start(self) -> Result<Server, Error> {
        let settings = self.settings.clone();
        server::start(&settings, self.build()?)
    }

    /// Serves until SIGINT or SIGTERM, then finishes running work and returns. A second signal ends it
    /// without waiting for that. SIGHUP does not end it.
    ///
    /// Logs to standard error with `env_logger` if no logger is set yet, as
    /// [`logging::init_with`](crate::logging::init_with) does with `[log]`; `RUST_LOG` sets the level. Panics are left to the program's panic hook: see
    /// [`logging::log_panics`](crate::logging::log_panics).
    ///
    /// # Errors
    ///
    /// As [`Offhook::start`] and [`Server::run_until_stopped`].
    pub async fn run(self) -> Result<(), Error> {
        server::survive_hangup()?;
        logging::init_with(&self.settings.log);
        let served = async {
            let server = self.start().await?;
            server.run(Server::log_start).await
        };
        let ended = served.await;
        logging::flush();
        ended
    }

    /// Builds all parts, each after the parts that it needs.
    fn build(self) -> Result<Receiver, Error> {
        let in_code: Vec<&str> = self.handlers.iter().map(|(name, ..)| &**name).collect();
        self.settings
            .check(&in_code, &mut Certificates::default())?;
        let metrics = Metrics::new();
        metrics
            .stats()
            .begin(self.clock.now(), SystemClock.monotonic());
        if let Some(admin) = &self.settings.admin {
            metrics.news().set_max_viewers(admin.max_viewers);
        }
        let (engine, inline, pipeline) = self.engine(&metrics)?;
        let in_code = in_code.into_iter().map(str::to_owned).collect();
        let (engine_name, promise) = self.promise();
        let said = self.file.as_ref().map(|file| &file.said);
        let status = Arc::new(Status::new(&self.settings, said, self.clock.now()));
        let Self {
            settings,
            clock,
            file,
            ..
        } = self;
        let reloading = Reloading {
            file,
            inline,
            in_code,
            ready_made,
            clock: Arc::clone(&clock),
        };
        let silence = Silence::of(&settings.sources, &metrics, Arc::clone(&clock));
        let silence = Arc::new(silence);
        let mut registry = None;
        if let Some(pipeline) = &pipeline {
            if let Some(cluster) = pipeline.cluster() {
                cluster.runs(status.fingerprint());
                let (news, cluster) = (metrics.news().clone(), Arc::clone(cluster));
                let clock = Arc::clone(&clock);
                pipeline.spawn(|stop| watch_elsewhere(news, cluster, clock, stop));
            }
            recall(pipeline, &silence);
            if pipeline.is_shared() {
                silence.announce_while(pipeline.housekeeper());
                let (hearing, tail) = (Arc::clone(&silence), Arc::clone(pipeline.journal().tail()));
                pipeline.spawn(|stop| hearing.hear(tail, stop));
            }
            registry = Some(Registry::open(
                pipeline,
                &settings.relay,
                settings.subscriptions,
                &settings.dispatch,
                &metrics,
                &clock,
            )?);
            pipeline.obey();
        }
        let limits = Limits {
            max_body: settings.server.max_body,
            request_timeout: settings.server.request_timeout,
            min_body_rate: settings.server.min_body_rate,
            in_flight: InFlight::new(settings.server.max_in_flight),
        };
        let refused = RefusedRequests::new(&settings.refused, &metrics, Arc::clone(&clock));
        let ingress = Ingress::new(
            settings.sources,
            engine,
            &limits,
            &metrics,
            clock,
            silence,
            refused,
        )?;
        Ok(Receiver::new(Parts {
            engine_name,
            promise,
            access: CurrentAccess::new(server::access(settings.admin.as_ref())),
            status,
            ingress: Arc::new(ingress),
            pipeline,
            registry,
            metrics,
            reloading,
        }))
    }
}

/// Loads from the journal when each source last sent an event.
fn recall(pipeline: &Pipeline, silence: &Arc<Silence>) {
    let (journal, silence) = (Arc::clone(pipeline.journal()), Arc::clone(silence));
    let recalled = async move { silence.recall(journal.as_ref()).await };
    if let Some(Err(error)) = pipeline.wait_for(recalled) {
        log::warn!("quiet_after is counted from now: the last events cannot be read: {error}");
    }
}

/// Shows the settings without secrets, and the handlers' names.
impl fmt::Debug for Offhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let handlers = self.handlers.iter().map(|(name, ..)| name);
        f.debug_struct("Offhook")
            .field("settings", &self.settings)
            .field("handlers", &handlers.collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, feature = "sqlite"))]
mod tests {
    use super::*;
    use crate::journal::{Sqlite, TestFolder};

    #[actix_web::test]
    async fn a_panicked_journal_ends_the_server() {
        let folder = TestFolder::new();
        let (metrics, clock) = (Metrics::new(), Arc::new(SystemClock));
        let journal = Sqlite::open(folder.path(), metrics.journal(), clock).unwrap();
        let journal = Arc::new(journal);
        let source = Source::new("gateway").secret(Secret::new("a-long-secret").unwrap());
        let offhook = Offhook::builder()
            .source(source)
            .custom_journal(journal.clone())
            .bind(([127, 0, 0, 1], 0))
            .without_admin();
        let server = offhook.start().await.unwrap();
        let ended = async {
            let ended = tokio::time::timeout(STOP_TIMEOUT, server.run_until_stopped());
            ended.await.expect("it ends")
        };
        let (ended, ()) = futures_util::future::join(ended, journal.panic_on_purpose()).await;
        assert!(matches!(ended, Err(Error::JournalBroken)), "{ended:?}");
    }

    const STOP_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(30);
}

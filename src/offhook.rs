//! [`Offhook`]: sources and handlers put together, ready to run.

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use tokio::runtime::Handle;

use crate::clock::{Clock, SystemClock};
use crate::dialect::Decoder;
use crate::dispatch::{Consumer, HandlerOptions};
use crate::engine::{Engine, InlineEngine, JournalEngine, Opened, Pipeline, Retention, Windows};
use crate::ingress::{Ingress, Silence};
use crate::journal::Journal;
use crate::relay::Registry;
use crate::server::{self, Parts, Receiver, Server};
use crate::settings::{self, AdminSettings, HandlerSettings, JournalSettings, Settings, Use};
use crate::signature::{InFlight, Limits, Secret};
use crate::telemetry::Metrics;
use crate::{Error, EventHandler, ExecHandler, JsonlHandler, LogHandler, Source};

/// A webhook receiver being put together.
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
/// or all in code, with [`Offhook::builder`].
pub struct Offhook {
    settings: Settings,
    handlers: Vec<(String, Arc<dyn EventHandler>, HandlerOptions)>,
    /// A journal of the program's own.
    journal: Option<Arc<dyn Journal>>,
    clock: Arc<dyn Clock>,
}

impl Offhook {
    /// Reads sources, listeners and ready-made handlers from a settings file, and the environment's
    /// `OFFHOOK__…` overrides.
    ///
    /// # Errors
    ///
    /// Every problem of the settings, not only the first.
    pub fn from_settings(path: impl AsRef<Path>) -> Result<Self, Error> {
        Ok(Self::new(Settings::load(path)?))
    }

    /// Starts from the default settings, without a file: no source, no handler, listeners on
    /// 127.0.0.1:5000 and :5001.
    pub fn builder() -> Self {
        Self::new(Settings {
            admin: Some(AdminSettings::default()),
            ..Settings::default()
        })
    }

    /// Starts from settings that are read or made already.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            handlers: Vec::new(),
            journal: None,
            clock: Arc::new(SystemClock),
        }
    }

    /// Adds a source.
    pub fn source(mut self, source: Source) -> Self {
        self.settings.sources.push(source);
        self
    }

    /// Adds a handler for every event, under a name for logs and metrics.
    pub fn handler(self, name: impl Into<String>, handler: impl EventHandler) -> Self {
        self.handler_with(name, handler, HandlerOptions::default())
    }

    /// Adds a handler with options of its own.
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

    /// Listens for webhooks on another address; port 0 for any free one.
    pub fn bind(mut self, address: impl Into<SocketAddr>) -> Self {
        self.settings.server.bind = address.into();
        self
    }

    /// Listens for the administrator on another address; port 0 for any free one.
    pub fn admin_bind(mut self, address: impl Into<SocketAddr>) -> Self {
        self.settings.admin.get_or_insert_default().bind = address.into();
        self
    }

    /// Asks for this token on the admin listener.
    pub fn admin_token(mut self, token: Secret) -> Self {
        self.settings.admin.get_or_insert_default().token = Some(token);
        self
    }

    /// Has no admin listener.
    pub fn without_admin(mut self) -> Self {
        self.settings.admin = None;
        self
    }

    /// Keeps events in another place, or not at all; in the folder `data` unless told.
    pub fn journal(mut self, journal: JournalSettings) -> Self {
        self.settings.journal = journal;
        self
    }

    /// Keeps events in a journal of the program's own, in place of the folder that the settings name: see
    /// [`journal`](crate::journal). Windows and retention are the settings'. There is no search then, so
    /// the admin API cannot list events. Where the settings have `journal.engine = "none"` it is not used.
    pub fn custom_journal(mut self, journal: Arc<dyn Journal>) -> Self {
        self.journal = Some(journal);
        self
    }

    /// Changes any setting.
    pub fn configure(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        change(&mut self.settings);
        self
    }

    /// Applies the environment's `OFFHOOK__…` overrides to settings made in code;
    /// [`Offhook::from_settings`] has done so already.
    ///
    /// # Errors
    ///
    /// Every problem of the settings, not only the first.
    pub fn environment(mut self) -> Result<Self, Error> {
        self.settings = self.settings.with_environment()?;
        Ok(self)
    }

    /// Takes the time from another clock.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// The settings as they are now.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Only the routes, to be mounted into an actix `App` of your own: no listener, no signals.
    ///
    /// Sources are watched for silence ([`Source::quiet_after`]) where this is called inside a tokio
    /// or actix runtime, for as long as that runs.
    ///
    /// # Errors
    ///
    /// When the settings have a problem, or a ready-made handler cannot start.
    pub fn receiver(self) -> Result<Receiver, Error> {
        let receiver = self.build()?;
        let ingress = &receiver.parts().ingress;
        match Handle::try_current() {
            Ok(home) => ingress.watch(&home),
            Err(_) if ingress.silence().is_watched() => {
                log::warn!("quiet_after: nobody watches, because there is no runtime yet");
            }
            Err(_) => {}
        }
        Ok(receiver)
    }

    /// Binds the listeners and serves in the background, until [`Server::stop`].
    ///
    /// # Errors
    ///
    /// As [`Offhook::receiver`], and when an address cannot be listened on.
    pub async fn start(self) -> Result<Server, Error> {
        let settings = self.settings.clone();
        server::start(&settings, self.build()?)
    }

    /// Serves until SIGINT or SIGTERM, then finishes what runs and returns.
    ///
    /// Logs to standard error with `env_logger` unless a logger is set already; `RUST_LOG` says how
    /// much.
    ///
    /// # Errors
    ///
    /// As [`Offhook::start`].
    pub async fn run(self) -> Result<(), Error> {
        crate::telemetry::logging::init();
        let server = self.start().await?;
        server.run(Server::log_start).await
    }

    /// Puts everything together, in the order in which one part needs another.
    fn build(self) -> Result<Receiver, Error> {
        self.settings.check("the settings")?;
        let metrics = Metrics::new();
        let consumers = self.consumers(&metrics)?;
        let (engine, pipeline) = self.engine(consumers, &metrics)?;
        let (engine_name, promise) = self.promise();
        let Self {
            settings, clock, ..
        } = self;
        let silence = Silence::of(&settings.sources, &metrics, Arc::clone(&clock));
        let silence = Arc::new(silence);
        let mut registry = None;
        if let Some(pipeline) = &pipeline {
            recall(pipeline, &silence);
            registry = Some(Registry::open(
                pipeline,
                &settings.relay,
                settings.subscriptions,
                &settings.dispatch,
                &metrics,
                &clock,
            )?);
        }
        let server = &settings.server;
        let limits = Limits {
            max_body: server.max_body,
            request_timeout: server.request_timeout,
            in_flight: InFlight::new(server.max_in_flight),
        };
        let ingress = Ingress::new(settings.sources, engine, limits, &metrics, clock, silence)?;
        Ok(Receiver::new(Parts {
            engine_name,
            promise,
            ingress: Arc::new(ingress),
            pipeline,
            registry,
            metrics,
        }))
    }

    /// The handlers of the settings, then those of the program.
    fn consumers(&self, metrics: &Arc<Metrics>) -> Result<Vec<Consumer>, Error> {
        let mut consumers: Vec<Consumer> = Vec::new();
        let mut add = |name: &str, handler, options: HandlerOptions| {
            let name = format!("handler:{name}");
            if consumers.iter().any(|consumer| consumer.name() == name) {
                return Err(settings::same_handler(name.trim_start_matches("handler:")));
            }
            let options = options.or(&self.settings.dispatch);
            let clock = Arc::clone(&self.clock);
            consumers.push(Consumer::new(name, handler, options, metrics, clock));
            Ok(())
        };
        for handler in &self.settings.handlers {
            add(&handler.name, ready_made(handler)?, handler.options.clone())?;
        }
        for (name, handler, options) in &self.handlers {
            add(name, Arc::clone(handler), options.clone())?;
        }
        Ok(consumers)
    }

    /// Whether events are kept in a journal of the program's own.
    pub(crate) fn has_custom_journal(&self) -> bool {
        self.journal.is_some()
    }

    /// The engine's name, and what the answer 200 means.
    fn promise(&self) -> (&'static str, String) {
        match &self.settings.journal {
            JournalSettings::Sqlite(_) if self.has_custom_journal() => {
                ("custom", CUSTOM.to_owned())
            }
            journal => (journal.name(), journal.promise()),
        }
    }

    /// The journal: the program's own, or the one in this folder.
    fn open(&self, folder: &Path, metrics: &Metrics) -> Result<Opened, Error> {
        if let Some(journal) = &self.journal {
            return Ok(Opened::without_search(Arc::clone(journal)));
        }
        #[cfg(feature = "sqlite")]
        return Opened::sqlite(folder, metrics, &self.clock);
        #[cfg(not(feature = "sqlite"))]
        {
            let _ = (folder, metrics);
            Err(Error::journal(NO_SQLITE))
        }
    }

    /// The engine that the settings ask for, and what follows its journal where there is one.
    fn engine(&self, consumers: Vec<Consumer>, metrics: &Arc<Metrics>) -> Result<Engines, Error> {
        let JournalSettings::Sqlite(sqlite) = &self.settings.journal else {
            return Ok((Arc::new(InlineEngine::new(consumers)), None));
        };
        let retention = Retention {
            age: sqlite.retention,
            bytes: sqlite.retention_size,
        };
        let dialects = self.settings.sources.iter().map(Source::dialect_of);
        let decoder = Decoder::new(dialects, self.settings.server.max_body);
        let opened = self.open(&sqlite.path, metrics)?;
        let clock = &self.clock;
        let pipeline = Pipeline::start(opened, consumers, decoder, retention, metrics, clock)?;
        let windows = Windows {
            keyed: sqlite.dedup_window,
            unkeyed: sqlite.dedup_window_unkeyed,
        };
        let (journal, notes) = (Arc::clone(pipeline.journal()), Arc::clone(pipeline.notes()));
        let engine = JournalEngine::new(journal, windows, notes);
        Ok((Arc::new(engine), Some(Arc::new(pipeline))))
    }
}

#[cfg(not(feature = "sqlite"))]
const NO_SQLITE: &str = "the engine sqlite is not part of this build (feature `sqlite`); set \
    journal.engine = \"none\", or give a journal of your own";

const CUSTOM: &str = "custom: an event is in the program's own journal before it is answered 200";

/// What takes verified events, and what is behind it where there is a journal.
type Engines = (Arc<dyn Engine>, Option<Arc<Pipeline>>);

/// Takes from the journal when each source was heard last.
fn recall(pipeline: &Pipeline, silence: &Arc<Silence>) {
    let (journal, silence) = (Arc::clone(pipeline.journal()), Arc::clone(silence));
    let recalled = async move { silence.recall(journal.as_ref()).await };
    if let Some(Err(error)) = pipeline.wait_for(recalled) {
        log::warn!("the time of the sources' last events: {error}; counted from now on");
    }
}

fn ready_made(handler: &HandlerSettings) -> Result<Arc<dyn EventHandler>, Error> {
    let failed = |error: Box<dyn std::error::Error + Send + Sync>| Error::Handler {
        name: handler.name.clone(),
        error,
    };
    Ok(match &handler.used {
        Use::Log => Arc::new(LogHandler::new().map_err(|error| failed(error.into()))?),
        Use::Jsonl { path } => {
            let opened = JsonlHandler::append(path);
            Arc::new(opened.map_err(|error| failed(format!("{}: {error}", path.display()).into()))?)
        }
        Use::Exec(exec) => {
            Arc::new(ExecHandler::new(exec.clone()).map_err(|error| failed(error.into()))?)
        }
    })
}

/// Shows the settings, secrets left out, and the handlers' names.
impl fmt::Debug for Offhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let handlers = self.handlers.iter().map(|(name, ..)| name);
        f.debug_struct("Offhook")
            .field("settings", &self.settings)
            .field("handlers", &handlers.collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

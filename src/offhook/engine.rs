//! Builds the engine: the journal that the settings name, or that the program provides, and its consumers.

use std::sync::Arc;

use super::Offhook;
use crate::dialect::Decoder;
use crate::dispatch::{Consumer, LargeBodies};
use crate::engine::{Engine, InlineEngine, JournalEngine, Opened, Pipeline, Retention, Windows};
use crate::settings::{HandlerSettings, JournalSettings, KeptSettings, Use};
use crate::telemetry::Metrics;
use crate::{Error, EventHandler, ExecHandler, JsonlHandler, LogHandler};

impl Offhook {
    /// Builds the engine that the settings ask for, and, with a journal, its pipeline.
    pub(super) fn engine(&self, metrics: &Arc<Metrics>) -> Result<Engines, Error> {
        let consumers = self.consumers(metrics)?;
        let Some(kept) = self.settings.journal.kept() else {
            let inline = Arc::new(InlineEngine::new(consumers));
            return Ok((Arc::clone(&inline) as _, Some(inline), None));
        };
        let retention = Retention {
            age: kept.retention,
            bytes: kept.retention_size,
        };
        let server = &self.settings.server;
        let sources = self.settings.sources.iter();
        let readers = sources.map(|source| source.named_reader(server.max_body));
        let decoder = Decoder::new(readers, server.max_body);
        let windows = Windows {
            keyed: kept.dedup_window,
            unkeyed: kept.dedup_window_unkeyed,
        };
        let opened = self.open(kept, &decoder, windows, metrics)?;
        let reading = (decoder, LargeBodies::new(server.max_in_flight));
        let clock = &self.clock;
        let pipeline = Pipeline::start(opened, consumers, reading, retention, metrics, clock)?;
        let (journal, notes) = (Arc::clone(pipeline.journal()), Arc::clone(pipeline.notes()));
        let engine = JournalEngine {
            journal,
            windows,
            notes,
            is_shared: pipeline.is_shared(),
        };
        Ok((Arc::new(engine), None, Some(Arc::new(pipeline))))
    }

    /// The handlers of the settings, then those added in code.
    fn consumers(&self, metrics: &Arc<Metrics>) -> Result<Vec<Consumer>, Error> {
        let mut handlers = Vec::new();
        for settings in &self.settings.handlers {
            let handler = ready_made(settings)?;
            handlers.push((settings.name.clone(), handler, settings.options.clone()));
        }
        handlers.extend(self.handlers.iter().cloned());
        let consumers = handlers.into_iter().map(|(name, handler, options)| {
            let name = format!("handler:{name}");
            let options = options.or(&self.settings.dispatch);
            Consumer::new(name, handler, options, metrics, Arc::clone(&self.clock))
        });
        Ok(consumers.collect())
    }

    /// Opens the journal: the program's own, or that of the settings.
    fn open(
        &self,
        kept: KeptSettings<'_>,
        decoder: &Decoder,
        windows: Windows,
        metrics: &Metrics,
    ) -> Result<Opened, Error> {
        if let Some(journal) = &self.journal {
            return Ok(Opened::without_search(Arc::clone(journal)));
        }
        #[cfg(feature = "postgres")]
        if let JournalSettings::Postgres(postgres) = &self.settings.journal {
            let options = postgres.options().map_err(Error::journal)?;
            return Opened::postgres(options, kept.path, &self.clock);
        }
        #[cfg(feature = "sqlite")]
        return Opened::sqlite(kept.path, metrics, &self.clock, decoder, windows);
        #[cfg(not(feature = "sqlite"))]
        {
            let _ = (kept, decoder, windows, metrics);
            Err(Error::journal(NO_SQLITE))
        }
    }

    /// Whether the program provides the journal.
    pub(crate) fn has_custom_journal(&self) -> bool {
        self.journal.is_some()
    }

    /// The engine's name, and what an answer of 200 means.
    pub(super) fn promise(&self) -> (&'static str, String) {
        match &self.settings.journal {
            JournalSettings::Sqlite(_) | JournalSettings::Postgres(_)
                if self.has_custom_journal() =>
            {
                ("custom", CUSTOM.to_owned())
            }
            journal => (journal.name(), journal.promise()),
        }
    }
}

#[cfg(not(feature = "sqlite"))]
const NO_SQLITE: &str = "the engine sqlite is not part of this build: build with the feature `sqlite`, \
    set journal.engine = \"none\", or give a journal of your own";

const CUSTOM: &str = "custom: an event is in the program's own journal before it is answered 200";

/// The engine, which takes verified events; the same if it is the engine `none`; and the pipeline if there is a
/// journal.
pub(super) type Engines = (
    Arc<dyn Engine>,
    Option<Arc<InlineEngine>>,
    Option<Arc<Pipeline>>,
);

pub(crate) fn ready_made(handler: &HandlerSettings) -> Result<Arc<dyn EventHandler>, Error> {
    let make = || -> Result<Arc<dyn EventHandler>, Box<dyn std::error::Error + Send + Sync>> {
        Ok(match &handler.used {
            Use::Log => Arc::new(LogHandler::new()?),
            Use::Jsonl { path } => Arc::new(
                JsonlHandler::append(path)
                    .map_err(|error| format!("{}: {error}", path.display()))?,
            ),
            Use::Exec(exec) => Arc::new(ExecHandler::new(exec.clone())?),
        })
    };
    make().map_err(|error| Error::Handler {
        name: handler.name.clone(),
        error,
    })
}

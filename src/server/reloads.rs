//! [`PublicLive`]: what of the public listener's settings can change while it listens; and the task that reloads
//! the settings, put together.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::task::JoinHandle;

use super::deadline::Times;
use super::parts::{self, Parts};
use super::proxies::Proxies;
use super::signals::hangups;
use super::systemd::Supervisor;
use super::tls::{ListenersTls, NextCertificate};
use crate::Error;
use crate::gateway::Registrars;
use crate::reload::{Live, PreparedListeners, ReloadHandle, Reloader};
use crate::settings::{ServerSettings, Settings};
use crate::signature::BodyPace;

/// What of the public listener's settings can change.
#[derive(Debug, Clone)]
pub(super) struct PublicLive {
    pub(super) times: Arc<ArcSwap<Times>>,
    pub(super) health_path: Arc<ArcSwap<Option<String>>>,
    pub(super) proxies: Arc<ArcSwap<Proxies>>,
    drain_delay: Arc<ArcSwap<Duration>>,
}

impl PublicLive {
    pub(super) fn new(settings: &ServerSettings) -> Self {
        Self {
            times: Arc::new(ArcSwap::from_pointee(times(settings))),
            health_path: Arc::new(ArcSwap::from_pointee(settings.health_path.clone())),
            proxies: Arc::new(ArcSwap::from_pointee(Proxies::new(settings))),
            drain_delay: Arc::new(ArcSwap::from_pointee(settings.drain_delay)),
        }
    }

    /// Requests that begin from now on, and a stop, go by these settings.
    fn replace(&self, settings: &ServerSettings) {
        self.times.store(Arc::new(times(settings)));
        self.health_path
            .store(Arc::new(settings.health_path.clone()));
        self.proxies.store(Arc::new(Proxies::new(settings)));
        self.drain_delay.store(Arc::new(settings.drain_delay));
    }

    /// How long requests are still taken after a signal to stop.
    pub(super) fn drain_delay(&self) -> Duration {
        **self.drain_delay.load()
    }
}

fn times(settings: &ServerSettings) -> Times {
    Times {
        pace: BodyPace {
            request_timeout: settings.request_timeout,
            min_rate: settings.min_body_rate,
            max_body: settings.max_body,
        },
        keep_alive: settings.keep_alive,
    }
}

/// The task that reloads. It ends when this is dropped.
#[derive(Debug)]
pub(super) struct Reloads(JoinHandle<()>);

impl Reloads {
    /// Starts the task if the settings come from a file. From then on SIGHUP does not end the process.
    pub(super) fn start(
        settings: &Settings,
        parts: &Parts,
        registrars: &Arc<Registrars>,
        public: &PublicLive,
        tls: ListenersTls,
        supervisor: &Arc<Supervisor>,
    ) -> Result<Option<(Self, ReloadHandle)>, Error> {
        let reloading = &parts.reloading;
        let Some(file) = reloading.file.clone() else {
            return Ok(None);
        };
        let (public, access) = (public.clone(), parts.access.clone());
        let (metrics, supervisor) = (Arc::clone(&parts.metrics), Arc::clone(supervisor));
        let clock = Arc::clone(&reloading.clock);
        let live = Live {
            ingress: Arc::clone(&parts.ingress),
            pipeline: parts.pipeline.clone(),
            inline: reloading.inline.clone(),
            registry: parts.registry.clone(),
            registrars: Arc::clone(registrars),
            handlers: Mutex::default(),
            metrics: Arc::clone(&parts.metrics),
            clock: Arc::clone(&reloading.clock),
            in_code: reloading.in_code.clone(),
            ready_made: reloading.ready_made,
            listeners: Box::new(move |settings, certificates| {
                let (public, access) = (public.clone(), access.clone());
                let (tls, metrics) = (tls.clone(), Arc::clone(&metrics));
                let clock = Arc::clone(&clock);
                let (server, admin) = (settings.server.clone(), settings.admin.clone());
                let most_viewers = admin.as_ref().map(|admin| admin.max_viewers);
                let next = tls.load(settings, certificates)?;
                Ok(PreparedListeners {
                    files: next.iter().map(|next| next.files.clone()).collect(),
                    apply: Box::new(move || {
                        public.replace(&server);
                        most_viewers.inspect(|most| metrics.news().set_max_viewers(*most));
                        let new = parts::access(admin.as_ref());
                        let are_same = access.now().has_tokens_of(&new);
                        access.replace(new);
                        if !are_same {
                            // They have shown an old one. Who asks from now on is judged by the new one.
                            metrics.news().send_away();
                        }
                        if !next.is_empty() {
                            next.into_iter().for_each(NextCertificate::apply);
                            tls.tell_ends(&metrics, clock.now());
                        }
                    }),
                })
            }),
            tell: Box::new(move |stage| supervisor.reload(stage)),
        };
        let hangups = hangups()?;
        let status = Arc::clone(&parts.status);
        let (reloader, handle) = Reloader::new(file, settings.clone(), live, status);
        Ok(Some((Self(tokio::spawn(reloader.run(hangups))), handle)))
    }
}

impl Drop for Reloads {
    fn drop(&mut self) {
        self.0.abort();
    }
}

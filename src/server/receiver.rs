//! [`Receiver`]: all of offhook but its listeners.

use std::fmt;
use std::sync::{Arc, OnceLock};

use actix_web::{HttpRequest, HttpResponse, guard, web};
use tokio::sync::OnceCell;
use tokio::time::timeout;

use super::listeners::STOP_TIMEOUT;
use super::parts::Parts;
use crate::admin::{self, AdminState};

/// Receives the webhooks of all sources, as a part of your own actix `App`: [`Receiver::configure`] mounts
/// it, [`Receiver::admin`] mounts the admin API beside it, and [`Receiver::stop`] finishes what runs.
///
/// Clones are the same receiver. With the default settings events are stored in the folder `data`.
///
/// ```no_run
/// use actix_web::{App, HttpServer, web};
/// use offhook::signature::Secret;
/// use offhook::{Offhook, Source};
/// # struct Greeter;
/// # impl offhook::EventHandler for Greeter {}
///
/// # #[actix_web::main]
/// # async fn main() -> std::io::Result<()> {
/// let receiver = Offhook::builder()
///     .source(Source::new("codeskytz").secret(Secret::new("a-long-secret").unwrap()))
///     .handler("greeter", Greeter)
///     .receiver()
///     .unwrap();
///
/// let mounted = receiver.clone();
/// HttpServer::new(move || {
///     App::new()
///         .route("/", web::get().to(|| async { "my own page" }))
///         .service(web::scope("/ops").configure(mounted.admin()))
///         .configure(mounted.configure())
/// })
/// .bind("127.0.0.1:8080")?
/// .run()
/// .await?;
/// receiver.stop().await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Receiver(Arc<Mounted>);

/// The parts, and what only a mounted receiver needs.
struct Mounted {
    parts: Arc<Parts>,
    /// What the mounted admin API needs, which all workers share.
    admin: OnceLock<web::Data<AdminState>>,
    /// Set when everything has stopped.
    stopped: OnceCell<()>,
}

impl Receiver {
    pub(crate) fn new(parts: Parts) -> Self {
        Self(Arc::new(Mounted {
            parts: Arc::new(parts),
            admin: OnceLock::new(),
            stopped: OnceCell::new(),
        }))
    }

    pub(crate) fn parts(&self) -> &Parts {
        &self.0.parts
    }

    /// Adds the paths of every source to an actix `App`, or to a `web::scope` of it.
    ///
    /// Other paths go on to the services that are added later, except for those that end like a source's: a
    /// `/mine/webhook` of your own must be added before this, where a source has the path `/webhook`.
    ///
    /// The limits on bodies hold here too; those on connections and slow heads are the host's
    /// `HttpServer`'s.
    pub fn configure(&self) -> impl FnOnce(&mut web::ServiceConfig) + 'static {
        // A mounted receiver lives as long as the `App`, with all that is behind it.
        let parts = Arc::clone(&self.0.parts);
        move |app| {
            let ingress = Arc::clone(&parts.ingress);
            // A guard sees the whole address and not the scope that it is asked in.
            let may_lead = guard::fn_guard(move |request| ingress.may_lead(&request.head().uri));
            let answer = move |request: HttpRequest, payload: web::Payload| {
                let parts = Arc::clone(&parts);
                async move {
                    let path = format!("/{}", request.match_info().query("path"));
                    let (head, payload) = (request.head(), payload.into_inner());
                    let answered = parts.ingress.answer_at(&path, head, payload).await;
                    // The guard has found a route, which reloading may have taken away.
                    answered.unwrap_or_else(|| HttpResponse::NotFound().finish())
                }
            };
            app.service(web::resource("/{path:.*}").guard(may_lead).to(answer));
        }
    }

    /// Adds the admin API (`/health`, `/ready`, `/metrics`, `/api/…`, `/sessions/…`) to a `web::scope` of an
    /// actix `App`. Mount it in a scope of its own: it answers every path there, 404 where it has none. Add that
    /// scope before [`Receiver::configure`], which would otherwise take the paths that end like a source's,
    /// such as `/sessions/{id}/webhook`.
    ///
    /// With [`Offhook::admin_token`](crate::Offhook::admin_token) every path but `/health` and `/ready` needs the
    /// token. Without one it answers only those two, and everything else 403: the listener may be public, and a
    /// proxy may hide who asks.
    ///
    /// The deadlines of offhook's own admin listener do not hold here: the time that heads, bodies and answers
    /// may take is the host's `HttpServer`'s.
    ///
    /// ```no_run
    /// # fn mount(receiver: offhook::Receiver) {
    /// use actix_web::{App, web};
    ///
    /// let app = App::new().service(web::scope("/ops").configure(receiver.admin()));
    /// # }
    /// ```
    pub fn admin(&self) -> impl FnOnce(&mut web::ServiceConfig) + 'static {
        let parts = &self.0.parts;
        let state = self.0.admin.get_or_init(|| {
            if parts.access.now().token.is_none() {
                log::warn!(
                    "the admin API is mounted without a token, so it answers only /health and /ready; set a \
                     token (Offhook::admin_token, admin.token)"
                );
            }
            web::Data::new(parts.admin_state(true, None))
        });
        let state = state.clone();
        move |app| admin::mount(state, app)
    }

    /// Stops gracefully: new webhooks are answered 503, events that were verified are finished, running
    /// attempts end, progress is saved, and the journal is closed. That takes [`STOP_TIMEOUT`](crate::STOP_TIMEOUT)
    /// at most; what runs longer is logged, and goes on as long as the receiver lives.
    ///
    /// Call it after the host's `HttpServer` has ended, so that all senders were answered. Every call waits for
    /// the same stop, and returns when it is over. The admin API still answers after that, as far as it can
    /// without the journal.
    pub async fn stop(&self) {
        let stopped = &self.0.stopped;
        stopped.get_or_init(|| self.stop_once()).await;
    }

    async fn stop_once(&self) {
        let parts = self.parts();
        let running = parts.ingress.running();
        running.drain();
        running.refuse();
        // The silence that begins now is not that of the sources.
        parts.ingress.unwatch();
        let finished = async {
            parts.metrics.news().end().await;
            running.idle().await;
            if let Some(pipeline) = &parts.pipeline {
                pipeline.stop().await;
            }
        };
        if timeout(STOP_TIMEOUT, finished).await.is_err() {
            log::warn!(
                "handlers still run after {STOP_TIMEOUT:?}; the receiver does not wait for them any more"
            );
        }
    }
}

impl fmt::Debug for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver")
            .field("sources", &self.parts().ingress)
            .finish_non_exhaustive()
    }
}

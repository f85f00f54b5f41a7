//! [`Receiver`]: all of offhook but its listeners.

use std::fmt;
use std::sync::Arc;

use actix_web::{HttpRequest, HttpResponse, guard, web};

use crate::engine::Pipeline;
use crate::ingress::Ingress;
use crate::relay::Registry;
use crate::telemetry::Metrics;

/// Receives the webhooks of all sources; mount it with [`Receiver::configure`].
///
/// The admin API and the metrics are not part of it: they need the listeners of [`Offhook::start`](crate::Offhook::start).
/// With the default settings events are stored in the folder `data`.
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
/// HttpServer::new(move || {
///     App::new()
///         .route("/", web::get().to(|| async { "my own page" }))
///         .configure(receiver.configure())
/// })
/// .bind("127.0.0.1:8080")?
/// .run()
/// .await
/// # }
/// ```
#[derive(Clone)]
pub struct Receiver(Arc<Parts>);

/// What runs behind the listeners, for as long as there is a [`Receiver`].
pub(crate) struct Parts {
    pub(crate) engine_name: &'static str,
    /// What the answer 200 means, for the log.
    pub(crate) promise: String,
    pub(crate) ingress: Arc<Ingress>,
    /// The journal, its consumers and its index, where there is a journal.
    pub(crate) pipeline: Option<Arc<Pipeline>>,
    /// The subscriptions, where there is a journal.
    pub(crate) registry: Option<Arc<Registry>>,
    pub(crate) metrics: Arc<Metrics>,
}

impl Receiver {
    pub(crate) fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }

    pub(crate) fn parts(&self) -> &Parts {
        &self.0
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
        let parts = Arc::clone(&self.0);
        move |app| {
            let ingress = Arc::clone(&parts.ingress);
            // A guard sees the whole address and not the scope that it is asked in.
            let may_lead = guard::fn_guard(move |request| ingress.may_lead(&request.head().uri));
            let answer = move |request: HttpRequest, payload: web::Payload| {
                let parts = Arc::clone(&parts);
                async move {
                    let path = format!("/{}", request.match_info().query("path"));
                    let (head, payload) = (request.head(), payload.into_inner());
                    let answered = parts.ingress.answer_at(&path, head, payload, None).await;
                    // The guard has found a route, which reloading may have taken away.
                    answered.unwrap_or_else(|| HttpResponse::NotFound().finish())
                }
            };
            app.service(web::resource("/{path:.*}").guard(may_lead).to(answer));
        }
    }
}

impl fmt::Debug for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver")
            .field("sources", &self.0.ingress)
            .finish_non_exhaustive()
    }
}

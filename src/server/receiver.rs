//! [`Receiver`]: all of offhook except its listeners.

use std::fmt;
use std::sync::Arc;

use actix_web::{HttpRequest, guard, web};

use crate::engine::Pipeline;
use crate::ingress::Ingress;
use crate::relay::Registry;
use crate::telemetry::Metrics;

/// Receives the webhooks of all sources. Mount it into an actix `App` with [`Receiver::configure`].
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

/// What runs behind the listeners, as long as a [`Receiver`] exists.
pub(crate) struct Parts {
    pub(crate) ingress: Arc<Ingress>,
    /// The journal, its consumers and its index; `None` with the engine `none`.
    pub(crate) pipeline: Option<Arc<Pipeline>>,
    /// The subscriptions; `None` with the engine `none`.
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

    /// Adds the paths of every source to an actix `App`. Requests to other paths go on to the services
    /// that are added after it.
    ///
    /// The limits on bodies hold here too. The limits on connections and slow heads are those of the
    /// application's `HttpServer`.
    pub fn configure(&self) -> impl FnOnce(&mut web::ServiceConfig) + 'static {
        self.configure_scope("")
    }

    /// As [`Receiver::configure`], for a `web::scope` with this path, which must have no parameters:
    /// `web::scope("/hooks").configure(receiver.configure_scope("/hooks"))` receives at `/hooks/webhook`.
    pub fn configure_scope(
        &self,
        scope: &str,
    ) -> impl FnOnce(&mut web::ServiceConfig) + use<> + 'static {
        let (ingress, scope) = (Arc::clone(&self.0.ingress), Arc::<str>::from(scope));
        // Everything behind a mounted receiver lives as long as the `App`.
        let parts = Arc::clone(&self.0);
        move |app| {
            let (table, below) = (Arc::clone(&ingress), Arc::clone(&scope));
            let leads = guard::fn_guard(move |request| table.leads(&below, &request.head().uri));
            let answer = move |request: HttpRequest, payload: web::Payload| {
                let (parts, scope) = (Arc::clone(&parts), Arc::clone(&scope));
                async move {
                    let payload = payload.into_inner();
                    let ingress = &parts.ingress;
                    ingress.answer(&scope, request.head(), payload, None).await
                }
            };
            app.service(web::resource("/{path:.*}").guard(leads).to(answer));
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

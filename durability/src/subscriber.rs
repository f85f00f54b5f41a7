//! [`Subscriber`]: takes what all instances relay, and notes its order.

use std::cell::{Ref, RefCell};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::{Instant, sleep};

use crate::error::{Error, io};
use crate::handled::{Seen, id_of};
use crate::load::Load;

/// Listens on this machine until it is dropped.
pub(crate) struct Subscriber {
    address: SocketAddr,
    seen: Rc<RefCell<Seen>>,
    listening: JoinHandle<()>,
}

impl Subscriber {
    pub(crate) async fn start() -> Result<Self, Error> {
        let failed = io("listening on 127.0.0.1");
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(&failed)?;
        let address = listener.local_addr().map_err(&failed)?;
        let seen = Rc::new(RefCell::new(Seen::default()));
        let taken = Rc::clone(&seen);
        let listening = spawn_local(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let seen = Rc::clone(&taken);
                let service = service_fn(move |request| take(Rc::clone(&seen), request));
                // Its other side may be killed at any time.
                spawn_local(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        Ok(Self {
            address,
            seen,
            listening,
        })
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    pub(crate) fn seen(&self) -> Ref<'_, Seen> {
        self.seen.borrow()
    }

    /// Waits until it has every acknowledged message, or nothing comes any more.
    pub(crate) async fn catch_up(&self, load: &Load) {
        let (mut count, mut idle_since) = (0, Instant::now());
        loop {
            let (total, is_complete) = {
                let seen = self.seen.borrow();
                (seen.total(), seen.missing(&load.ledger.borrow()) == 0)
            };
            if total > count {
                (count, idle_since) = (total, Instant::now());
            }
            let idle = idle_since.elapsed();
            if is_complete && idle >= QUIET || idle >= PATIENCE {
                return;
            }
            sleep(LOOK).await;
        }
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

async fn take(
    seen: Rc<RefCell<Seen>>,
    request: Request<Incoming>,
) -> Result<Response<Empty<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = Limited::new(body, LONGEST_BODY).collect().await;
    let event = head.headers.get("webhook-id");
    let event = event.and_then(|id| id.to_str().ok()?.trim_start_matches("msg_").parse().ok());
    let known = body.ok().and_then(|body| {
        let body: Value = serde_json::from_slice(&body.to_bytes()).ok()?;
        Some((id_of(&body)?, event?))
    });
    let mut response = Response::new(Empty::new());
    match known {
        // It counts from here on, whether or not the answer arrives.
        Some((id, event)) => seen.borrow_mut().saw(id, event),
        None => *response.status_mut() = StatusCode::BAD_REQUEST,
    }
    Ok(response)
}

/// In bytes.
const LONGEST_BODY: usize = 1024 * 1024;

/// When everything is there, the run ends after nothing more has come for so long.
const QUIET: Duration = Duration::from_millis(300);

/// If nothing comes for so long, several leases, what is missing counts as lost.
const PATIENCE: Duration = Duration::from_secs(40);

const LOOK: Duration = Duration::from_millis(50);

//! The HTTP service of the public listener: from a connection to the receiver's answers.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use actix_http::{ConnectionType, HttpService, KeepAlive, Payload, Request};
use actix_server::GracefulShutdownSignal;
use actix_service::{ServiceFactory, fn_service};
use actix_web::HttpResponse;

use super::connection::Connection;
use super::deadline::{LINGER, RequestDeadline};
use crate::ingress::Ingress;
use crate::signature::Deadline;

/// Serves connections to the public listener.
pub(super) fn http(
    ingress: &Arc<Ingress>,
    stopping: &GracefulShutdownSignal,
) -> impl ServiceFactory<(Connection, Option<SocketAddr>), Config = (), Response = ()> + use<> {
    let (answering, expecting) = (Arc::clone(ingress), Arc::clone(ingress));
    let stopping = stopping.clone();
    HttpService::build()
        // The connection has deadlines of its own, for every request.
        .keep_alive(KeepAlive::Os)
        .client_request_timeout(Duration::ZERO)
        .client_disconnect_timeout(LINGER)
        .graceful_shutdown_signal(move || {
            let stopping = stopping.clone();
            async move { stopping.notified().await }
        })
        .on_connect_ext(|connection: &Connection, data| {
            data.insert(connection.deadline().clone());
        })
        .expect(fn_service(move |request: Request| {
            let verdict = expecting.before_continue(request.head());
            async move {
                match verdict {
                    Ok(()) => Ok(request),
                    Err(answer) => Err(actix_http::Response::from(*answer)),
                }
            }
        }))
        .h1(fn_service(move |request: Request| {
            let answering = Arc::clone(&answering);
            async move { Ok::<_, Infallible>(answer(&answering, request).await) }
        }))
}

/// Answers a request, and keeps its connection's deadline up to date.
async fn answer(ingress: &Ingress, mut request: Request) -> HttpResponse {
    let deadline = request.conn_data::<RequestDeadline>().cloned();
    let payload = request.take_payload();
    if let Some(deadline) = &deadline {
        deadline.request_begun(!matches!(payload, Payload::None));
    }
    let kept = deadline.as_ref().map(|deadline| deadline as &dyn Deadline);
    let mut answer = ingress.answer(request.head(), payload, kept).await;
    if let Some(deadline) = &deadline {
        if !deadline.is_complete() {
            // The rest of the body must not be read as the next request.
            let head = answer.head_mut();
            head.set_connection_type(ConnectionType::Close);
        }
        deadline.answered();
    }
    answer
}

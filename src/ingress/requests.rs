//! Requests in the two ways they come: to the server's own listener, and through somebody's `App`.

use actix_http::{Request, RequestHead};
use actix_web::dev::Payload;
use actix_web::{HttpRequest, web};

use crate::server::Owed;
use crate::signature::{Incoming, Segment};

/// A request to the server's own listener.
pub(super) struct Served<'a> {
    pub(super) request: Request,
    pub(super) token: Option<String>,
    pub(super) session: Option<String>,
    pub(super) owed: Option<&'a Owed>,
}

impl Incoming for Served<'_> {
    fn head(&self) -> &RequestHead {
        self.request.head()
    }

    fn segment(&self, name: Segment) -> Option<&str> {
        match name {
            Segment::Session => self.session.as_deref(),
            Segment::Token => self.token.as_deref(),
        }
    }

    fn take_payload(&mut self) -> Payload {
        self.request.take_payload()
    }

    fn owed(&self) -> Option<&Owed> {
        self.owed
    }
}

/// A request that has come through the router of an `App`.
pub(super) struct Mounted {
    request: HttpRequest,
    payload: Payload,
}

impl Mounted {
    pub(super) fn new(request: HttpRequest, payload: web::Payload) -> Self {
        Self {
            request,
            payload: payload.into_inner(),
        }
    }
}

impl Incoming for Mounted {
    fn head(&self) -> &RequestHead {
        self.request.head()
    }

    fn segment(&self, name: Segment) -> Option<&str> {
        self.request.match_info().get(name.in_pattern())
    }

    fn take_payload(&mut self) -> Payload {
        std::mem::replace(&mut self.payload, Payload::None)
    }
}

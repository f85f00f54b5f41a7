//! [`Verified`]: the proof that a body came from a known sender.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;

use super::Held;

/// The sender of a request, as far as the request could prove it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sender {
    /// The source's name.
    pub source: Arc<str>,
    /// The session whose secrets were used: the path's session if the path names one; otherwise, if the
    /// source has sessions with their own secrets, the body's session.
    pub session: Option<String>,
}

/// A body from a known sender.
///
/// Only a [`Verifier`](super::Verifier) creates one, after the signature was correct. Unverified bytes
/// therefore cannot reach code that takes a `Verified`; this does not compile:
///
/// ```compile_fail,E0451
/// use offhook::signature::{Sender, Verified};
///
/// fn forge(sender: Sender, body: bytes::Bytes) -> Verified {
///     Verified { sender, body, ..todo!() }
/// }
/// ```
///
/// In any actix `App`, handlers behind [`VerifySignature`](super::VerifySignature) can use it as an
/// extractor:
///
/// ```
/// use actix_web::HttpResponse;
/// use offhook::signature::Verified;
///
/// async fn webhook(verified: Verified) -> HttpResponse {
///     println!("{} bytes from {}", verified.body().len(), verified.sender().source);
///     HttpResponse::Ok().finish()
/// }
/// ```
pub struct Verified {
    pub(super) sender: Sender,
    pub(super) received_at: Timestamp,
    pub(super) headers: Vec<(Cow<'static, str>, Bytes)>,
    pub(super) body: Bytes,
    /// The body's share of the in-flight budget; released when the last owner drops it.
    pub(super) held: Option<Held>,
}

impl Verified {
    /// The sender of the request.
    pub fn sender(&self) -> &Sender {
        &self.sender
    }

    /// When the request was received.
    pub fn received_at(&self) -> Timestamp {
        self.received_at
    }

    /// The body, byte for byte as it was received and signed.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// The stored headers, names in lower case.
    pub fn headers(&self) -> &[(Cow<'static, str>, Bytes)] {
        &self.headers
    }

    pub(crate) fn into_parts(self) -> Parts {
        Parts {
            sender: self.sender,
            received_at: self.received_at,
            headers: self.headers,
            body: self.body,
            held: self.held,
        }
    }
}

pub(crate) struct Parts {
    pub(crate) sender: Sender,
    pub(crate) received_at: Timestamp,
    pub(crate) headers: Vec<(Cow<'static, str>, Bytes)>,
    pub(crate) body: Bytes,
    pub(crate) held: Option<Held>,
}

/// Shows the sender and the size, but never the body or the headers.
impl fmt::Debug for Verified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verified")
            .field("sender", &self.sender)
            .field("bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

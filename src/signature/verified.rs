//! [`Verified`]: the proof that a body came from a known sender.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;

use super::Held;

/// Who sent a request, as far as the request itself was allowed to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sender {
    /// The source's name.
    pub source: Arc<str>,
    /// The session whose secrets were asked: the path's where the path names one; else, where the
    /// source has sessions with secrets of their own, the body's.
    pub session: Option<String>,
}

/// A body that a known sender has sent.
///
/// Only a [`Verifier`](super::Verifier) makes one, after the signature was right. What takes a
/// `Verified` can therefore not be reached by unverified bytes; this does not compile:
///
/// ```compile_fail,E0451
/// use offhook::signature::{Sender, Verified};
///
/// fn forge(sender: Sender, body: bytes::Bytes) -> Verified {
///     Verified { sender, body, ..todo!() }
/// }
/// ```
///
/// In a handler of any actix `App` behind [`VerifySignature`](super::VerifySignature) it is an
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
    /// The body's place in the in-flight budget; given back when the last owner is done with it.
    pub(super) held: Option<Held>,
}

impl Verified {
    /// Who sent it.
    pub fn sender(&self) -> &Sender {
        &self.sender
    }

    /// When the request was received.
    pub fn received_at(&self) -> Timestamp {
        self.received_at
    }

    /// The body, byte for byte as it came and was signed.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// The headers that were kept, names in lower case.
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

/// Shows the sender and the size; never the body or the headers.
impl fmt::Debug for Verified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verified")
            .field("sender", &self.sender)
            .field("bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

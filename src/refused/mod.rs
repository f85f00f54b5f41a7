//! Keeps refused requests in memory for a while, and says why each was refused.
//!
//! ```text
//! answer made → rate → channel ─┬→ pool → diagnosis      (one thread)
//!                               └→ counted, if it is full
//! ```
//!
//! [`RefusedRequests::take`] is called when the answer to a request is made. It copies what is kept of the
//! request's head and passes it, with the body, to a thread: no answer waits for anything else. The thread puts it
//! into the pool, which has limits, and explains it when it has nothing else to do, for at most 2 % of a core.
//!
//! What must hold: nothing of it is written to a disk; everything that is held is counted; no secret, no path token
//! and no header that looks like a credential is shown. What is kept is a request that proves nothing. To become an
//! event it has to pass the `Verifier` of its source again ([`VerifySignature::verify_again`]).
//!
//! [`VerifySignature::verify_again`]: crate::signature::VerifySignature

mod capture;
mod cause;
mod diagnosis;
mod kept;
mod known;
mod losses;
mod paths;
mod pool;
mod rates;
mod requests;
mod settings;
mod shown;
mod thread;

pub(crate) use capture::Arrived;
pub(crate) use cause::Cause;
pub(crate) use kept::Kept;
pub(crate) use known::KnownSource;
pub(crate) use paths::shown_path;
pub(crate) use pool::Selection;
pub(crate) use requests::RefusedRequests;
pub use settings::RefusedSettings;
pub(crate) use shown::{Details, Listed};

//! Turns each request into its answer.
//!
//! ```text
//! head → route → checks → body → Verified → Envelope → Engine → answer
//! ```
//!
//! [`Ingress`] answers the requests to the paths of all sources. The server's own listener and an `App`
//! that mounts the receiver both call [`Ingress::begin`], then [`Ingress::finish`]. A request with `Expect: 100-continue`, which
//! asks before it sends its body, passes the same checks in [`Ingress::before_continue`]. A refused request that is
//! kept is verified again in `recovery.rs`, and `trial.rs` makes test events.

mod answers;
mod receive;
mod recovery;
mod running;
mod silence;
mod source;
mod sources;
mod taken;
#[cfg(test)]
mod tests;
mod trial;

pub(crate) use receive::{Begun, Ingress, NextSources};
pub(crate) use recovery::Recovered;
pub(crate) use silence::{SeenReport, Silence};
pub use source::Source;
pub(crate) use trial::NotTested;

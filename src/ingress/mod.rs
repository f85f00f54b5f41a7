//! From a request to its answer.
//!
//! ```text
//! head → route → checks → body → Verified → Envelope → Engine → answer
//! ```
//!
//! [`Ingress`] answers the requests to the paths of all sources. The server's own listener and an `App`
//! that mounts the receiver both call [`Ingress::answer`], and a request that asks before it sends its
//! body (`Expect: 100-continue`) passes the same checks in [`Ingress::before_continue`].

mod answers;
mod receive;
mod running;
mod silence;
mod source;
mod sources;
#[cfg(test)]
mod tests;

pub(crate) use receive::Ingress;
pub(crate) use silence::{HeardOf, Silence};
pub use source::Source;

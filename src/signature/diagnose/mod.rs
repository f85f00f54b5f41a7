//! [`diagnose`]: says why a signature is wrong.
//!
//! First the scheme itself is asked. If its timestamp is too far off, it is asked again at that time. If the
//! text of the signature is malformed, it is read leniently, and everything unusual about its form is a finding.
//! Then the usual mistakes are tried, at most one of each kind together, until one produces exactly these
//! bytes: another hash, another key made from the same secret, another body made from the same bytes, another
//! template. No finding contains the secret or the correct signature.

mod advice;
mod cause;
mod claims;
mod finding;
mod form;
mod formless;
mod json;
mod others;
mod suggestion;
mod templates;
#[cfg(test)]
mod tests;
mod variants;
mod why;

pub use finding::Finding;
pub use why::{diagnose, explains};

pub(crate) use claims::{failed_header, is_signed};
pub(crate) use others::{Foreign, foreign};
pub(crate) use suggestion::suggestion;

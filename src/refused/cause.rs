//! [`Cause`]: what kind of refusal a request met.

use serde::Serialize;

use crate::signature::{Refusal, RequestError};

/// What kind of refusal it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Cause {
    /// 401: the signature is wrong, or too old.
    Signature,
    /// 401: there is no signature, or the token in the path is wrong.
    NoSignature,
    /// 401: the signature cannot be read, or is there several times.
    Malformed,
    /// 413
    TooLarge,
    /// 408
    TooSlow,
    /// 404
    Path,
    /// 405
    Method,
}

impl Cause {
    /// Whether no source has its path, or it has a method that no source has.
    pub(super) fn is_misdirected(self) -> bool {
        matches!(self, Self::Path | Self::Method)
    }

    /// `None` for what the sender cannot be blamed for, or what is no whole request.
    pub(crate) fn of(error: &RequestError) -> Option<Self> {
        Some(match error {
            RequestError::Refused(Refusal::Missing | Refusal::PathToken) => Self::NoSignature,
            RequestError::Refused(Refusal::Malformed | Refusal::Repeated) => Self::Malformed,
            RequestError::Refused(_) => Self::Signature,
            RequestError::TooLarge { .. } => Self::TooLarge,
            RequestError::TooSlow => Self::TooSlow,
            RequestError::Busy | RequestError::Broken => return None,
        })
    }

    pub(super) fn status(self) -> u16 {
        match self {
            Self::Signature | Self::NoSignature | Self::Malformed => 401,
            Self::TooLarge => 413,
            Self::TooSlow => 408,
            Self::Path => 404,
            Self::Method => 405,
        }
    }
}

//! Reads a body within the limits, with as few copies as possible.

use actix_http::header::{self, HeaderMap};
use actix_web::dev::Payload;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;

use super::error::RequestError;
use super::limits::{Held, Limits};

/// Refuses a body whose declared length is too long.
pub(super) fn check_declared_length(
    headers: &HeaderMap,
    max_body: usize,
) -> Result<(), RequestError> {
    let declared = headers.get(header::CONTENT_LENGTH);
    let declared = declared.and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    match declared {
        Some(length) if length > max_body as u64 => Err(RequestError::TooLarge {
            bytes: length,
            limit: max_body,
        }),
        _ => Ok(()),
    }
}

/// Reads the body, in any number of chunks.
pub(super) async fn read_body(
    mut payload: Payload,
    headers: &HeaderMap,
    limits: &Limits,
) -> Result<(Bytes, Held), RequestError> {
    let mut held = limits.in_flight.hold();
    let mut body = Body::Empty;
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|_| RequestError::Broken)?;
        let length = body.len() + chunk.len();
        if length > limits.max_body {
            return Err(RequestError::TooLarge {
                bytes: length as u64,
                limit: limits.max_body,
            });
        }
        if !held.add(chunk.len()) {
            return Err(RequestError::Busy);
        }
        body.push(chunk, headers);
    }
    Ok((body.freeze(), held))
}

/// A body that is being read: a single chunk stays as it is, several are joined.
enum Body {
    Empty,
    One(Bytes),
    Several(BytesMut),
}

impl Body {
    fn len(&self) -> usize {
        match self {
            Self::Empty => 0,
            Self::One(chunk) => chunk.len(),
            Self::Several(chunks) => chunks.len(),
        }
    }

    fn push(&mut self, chunk: Bytes, headers: &HeaderMap) {
        match self {
            Self::Empty => *self = Self::One(chunk),
            Self::One(first) => {
                // The capacity is at most twice what was received, because the declared length is only a
                // claim.
                let declared = headers.get(header::CONTENT_LENGTH);
                let declared = declared.and_then(|value| value.to_str().ok()?.parse().ok());
                let so_far = first.len() + chunk.len();
                let capacity = declared.unwrap_or(so_far).clamp(so_far, 2 * so_far);
                let mut chunks = BytesMut::with_capacity(capacity);
                chunks.extend_from_slice(first);
                chunks.extend_from_slice(&chunk);
                *self = Self::Several(chunks);
            }
            Self::Several(chunks) => chunks.extend_from_slice(&chunk),
        }
    }

    fn freeze(self) -> Bytes {
        match self {
            Self::Empty => Bytes::new(),
            Self::One(chunk) => chunk,
            Self::Several(chunks) => chunks.freeze(),
        }
    }
}

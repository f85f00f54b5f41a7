//! [`HandlerError`]: why a handler did not do its work.

use std::error::Error;
use std::time::Duration;
use std::{fmt, iter};

/// Why a handler did not do its work, and what should happen next.
///
/// With `?` any error becomes a retry. For another outcome, use [`HandlerError::retry_after`],
/// [`HandlerError::after`] or [`HandlerError::reject`].
///
/// ```
/// use offhook_handlers::HandlerError;
///
/// fn amount(text: &str) -> Result<u64, HandlerError> {
///     Ok(text.parse::<u64>()?)
/// }
///
/// assert!(!amount("many").unwrap_err().is_reject());
/// assert!(HandlerError::reject("no such customer").is_reject());
/// ```
///
/// Like `anyhow::Error`, it does not implement [`Error`] itself. This lets `?` convert every other
/// error.
#[derive(Debug)]
pub struct HandlerError {
    is_reject: bool,
    pause: Option<Duration>,
    cause: Box<dyn Error + Send + Sync>,
}

impl HandlerError {
    /// Try again after the pause in the settings.
    pub fn retry(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self {
            is_reject: false,
            pause: None,
            cause: cause.into(),
        }
    }

    /// Try again after at least this pause.
    pub fn retry_after(pause: Duration) -> Self {
        Self::retry("the handler asked to be called later").after(pause)
    }

    /// Sets the minimum pause before the next attempt. A rejection stays a rejection.
    ///
    /// ```
    /// use std::time::Duration;
    /// use offhook_handlers::HandlerError;
    ///
    /// let error = HandlerError::retry("the shop is closed").after(Duration::from_secs(60));
    /// assert_eq!(error.pause(), Some(Duration::from_secs(60)));
    /// ```
    pub fn after(mut self, pause: Duration) -> Self {
        if !self.is_reject {
            self.pause = Some(pause);
        }
        self
    }

    /// Do not try again: the event becomes a dead letter with this reason.
    pub fn reject(reason: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self {
            is_reject: true,
            ..Self::retry(reason)
        }
    }

    /// Whether the event must not be tried again.
    pub fn is_reject(&self) -> bool {
        self.is_reject
    }

    /// The pause that the handler asked for.
    pub fn pause(&self) -> Option<Duration> {
        self.pause
    }
}

impl<E: Into<Box<dyn Error + Send + Sync>>> From<E> for HandlerError {
    fn from(cause: E) -> Self {
        Self::retry(cause)
    }
}

/// The error and its causes on one line.
impl fmt::Display for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.cause)?;
        let mut causes = iter::successors(self.cause.source(), |&cause| cause.source());
        causes.try_for_each(|cause| write!(f, ": {cause}"))
    }
}

//! [`Oldest`]: when the oldest body of the journal was received, without reading it again and again.

use std::sync::{Mutex, PoisonError};

use crate::Timestamp;
use crate::journal::{Journal, Seq, Unavailable};

/// The oldest body and its time, as they were read last: the journal can give them only with the whole body.
#[derive(Debug, Default)]
pub(crate) struct Oldest(Mutex<Option<(Seq, Timestamp)>>);

impl Oldest {
    pub(super) async fn find(
        &self,
        journal: &dyn Journal,
    ) -> Result<Option<(Seq, Timestamp)>, Unavailable> {
        let tail = journal.tail();
        let is_kept = |(seq, _): &(Seq, Timestamp)| tail.removed() < *seq && *seq <= tail.head();
        let known = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = known.filter(is_kept) {
            return Ok(Some(known));
        }
        let oldest = journal.read(0, 1).await?.pop();
        let oldest = oldest.map(|oldest| (oldest.seq, oldest.kept_at));
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = oldest;
        Ok(oldest)
    }
}

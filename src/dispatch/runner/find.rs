//! Finds one record.

use std::sync::Arc;

use crate::journal::{Journal, Record, Seq, Unavailable};

/// Returns the record, or `None` when it is no longer in the journal.
pub(in crate::dispatch) async fn find(
    journal: &dyn Journal,
    seq: Seq,
) -> Result<Option<Arc<Record>>, Unavailable> {
    if let Some(record) = journal.tail().get(seq) {
        return Ok(Some(record));
    }
    let records = journal.read(seq - 1, 1).await?;
    let record = records.into_iter().find(|record| record.seq == seq);
    Ok(record.map(Arc::new))
}

//! From `sqlite` to `postgres`.

use std::path::Path;
use std::sync::Arc;

use super::types::{MoveError, MoveStep, Moved, Reshape, failed};
use crate::clock::Clock;
use crate::journal::PostgresOptions;
use crate::journal::postgres::moving::PostgresTarget;
use crate::journal::sqlite::moving::SqliteSource;

/// Moves the journal in `folder` to a database.
pub(crate) async fn to_postgres(
    folder: &Path,
    options: PostgresOptions,
    clock: &Arc<dyn Clock>,
    shapes: &dyn Reshape,
    told: &mut dyn FnMut(MoveStep),
) -> Result<Moved, MoveError> {
    let source = SqliteSource::open(folder, clock)?;
    let mut target = PostgresTarget::open(options, clock, &source.identity()).await?;
    let resumed_at = target.resumed_at();
    if let Some(at) = resumed_at {
        told(MoveStep::Resumed(at));
    }
    let mut at = target.newest().max(source.first - 1);
    while at < source.head {
        let blocks = source.blocks(at).map_err(failed)?;
        at = blocks.iter().map(|moved| moved.last).max().unwrap_or(at);
        target.add_blocks(&blocks).await?;
        told(MoveStep::Events(at, source.head));
    }
    if !target.has_keys() {
        let mut count = 0;
        target.begin_keys().await?;
        let mut entries = source.entries().map_err(failed)?;
        while let Some(some) = entries.next().map_err(failed)? {
            count += target.add_keys(&some).await?;
            told(MoveStep::DedupKeys(count));
        }
        target.finish_keys(count).await?;
    }
    told(MoveStep::Rest);
    target.begin_rest().await?;
    target
        .add_documents(
            &source.documents().map_err(failed)?,
            source.newest_document().map_err(failed)?,
        )
        .await?;
    target
        .add_deletions(
            &source.deletions().map_err(failed)?,
            source.newest_deletion().map_err(failed)?,
        )
        .await?;
    let mut before = None;
    loop {
        let letters = source.letters(before.take()).map_err(failed)?;
        let Some((consumer, last)) = letters.last() else {
            break;
        };
        before = Some((last.position, consumer.clone()));
        target.add_letters(&letters).await?;
    }
    for consumer in source.consumers().map_err(failed)? {
        let unreadable = || failed(format!("the progress of {consumer} cannot be read"));
        let saved = source.saved(&consumer).map_err(failed)?;
        let positions = shapes.positions(&saved).ok_or_else(unreadable)?;
        let shares = source
            .shares_of(positions, target.shares())
            .map_err(failed)?;
        let share_of = |position| shares.get(&position).copied();
        let divided = shapes.divide(&saved, target.shares(), &share_of);
        target
            .add_progress(&consumer, &divided.ok_or_else(unreadable)?)
            .await?;
    }
    let counts = source.counts(shapes).map_err(failed)?;
    let counts = counts.compare(target.counts(shapes).await?)?;
    let dedup_keys = target.finish(source.first).await?;
    let (first, last) = (source.first, source.head);
    source.close().await;
    Ok(Moved {
        first,
        last,
        dedup_keys,
        counts,
        resumed_at,
    })
}

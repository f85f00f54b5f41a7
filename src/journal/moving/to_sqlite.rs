//! From `postgres` to `sqlite`.

use std::path::Path;
use std::sync::Arc;

use super::types::{MoveError, MoveStep, Moved, Reshape, failed};
use crate::clock::Clock;
use crate::journal::postgres::moving::PostgresSource;
use crate::journal::sqlite::moving::SqliteTarget;
use crate::journal::{PostgresOptions, ProgressChange};

/// Moves the journal in a database to `folder`.
pub(crate) async fn to_sqlite(
    options: PostgresOptions,
    folder: &Path,
    clock: &Arc<dyn Clock>,
    shapes: &dyn Reshape,
    told: &mut dyn FnMut(MoveStep),
) -> Result<Moved, MoveError> {
    let source = PostgresSource::open(&options, clock).await?;
    let mut target = SqliteTarget::open(folder, &source.identity(), clock)?;
    target.refuse_used(source.head)?;
    let resumed_at = target.resumed_at;
    if let Some(at) = resumed_at {
        told(MoveStep::Resumed(at));
    }
    if !target.is_done() {
        let mut at = target.newest().map_err(failed)?.max(source.first - 1);
        while at < source.head {
            let blocks = source.blocks(at).await?;
            at = blocks.last().map_or(source.head, |block| block.last);
            target.add_blocks(&blocks).map_err(failed)?;
            told(MoveStep::Events(at, source.head));
        }
        if !target.has_keys() {
            let (mut count, all) = (0, source.begin_keys().await?);
            let mut keys = target.begin_keys(source.head)?;
            loop {
                let some = source.keys().await?;
                if some.is_empty() {
                    break;
                }
                count += some.len() as u64;
                keys.add(&some).map_err(failed)?;
                told(MoveStep::DedupKeys(count));
            }
            target.finish_keys(keys, all)?;
        }
        told(MoveStep::Rest);
        rest(&source, &mut target, shapes).await?;
    }
    let counts = source.counts(shapes).await?;
    let counts = counts.compare(target.counts(shapes).map_err(failed)?)?;
    let dedup_keys = target.finish()?;
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

/// Everything beside the log, in one transaction.
async fn rest(
    source: &PostgresSource,
    target: &mut SqliteTarget,
    shapes: &dyn Reshape,
) -> Result<(), MoveError> {
    target.begin_rest(source.first).map_err(failed)?;
    let documents = source.all_documents().await?;
    target
        .add_documents(&documents, source.documents)
        .map_err(failed)?;
    let deletions = source.all_deletions().await?;
    target
        .add_deletions(&deletions, source.deletions)
        .map_err(failed)?;
    source.begin_letters().await?;
    loop {
        let letters = source.letters().await?;
        if letters.is_empty() {
            break;
        }
        target.add_letters(&letters).map_err(failed)?;
    }
    let (mut united, mut floor) = (Vec::new(), source.head);
    for consumer in source.consumers().await? {
        let parts = source.saved(&consumer).await?;
        let begun = shapes.unite(&parts);
        let begun =
            begun.ok_or_else(|| failed(format!("the progress of {consumer} cannot be read")))?;
        floor = floor.min(begun.floor());
        united.push((consumer, begun));
    }
    let mut at = floor.max(source.first - 1);
    while at < source.head {
        let records = source.records(at).await?;
        let Some(last) = records.last() else { break };
        at = last.seq;
        for record in &records {
            for (_, one) in &mut united {
                if record.seq > one.floor() {
                    one.take(record);
                }
            }
        }
    }
    for (consumer, one) in united {
        let saved = one.end();
        let change = ProgressChange {
            consumer,
            head: saved.head,
            rows: { saved.rows.into_iter() }
                .map(|(key, value)| (key, Some(value)))
                .collect(),
            revived: Vec::new(),
            dead: Vec::new(),
        };
        target.add_progress(&change).map_err(failed)?;
    }
    target.finish_rest().map_err(failed)
}

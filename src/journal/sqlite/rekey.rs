//! Makes the dedup keys of an older journal again, from the events that are kept.
//!
//! What makes two events the same has changed, so the keys of before would find no duplicate. The new keys
//! go into dedup segments, from which they are read from then on; the log stays as it is. A process that is
//! ended meanwhile begins again at its next start. Of deleted events the keys stay as they are.

use std::collections::HashMap;
use std::path::Path;

use rusqlite::Connection;

use super::damage::Damage;
use super::folder::OpenError;
use super::known::unreadable;
use super::{reading, rows};
use crate::journal::dedup::{DedupEntry, DedupTuning, DedupWindow, remove_segments};
use crate::journal::{EntryPart, Missing, Position, Record, Seq};

/// Gives the parts of a body with their keys.
pub(crate) type KeysOf<'a> = &'a dyn Fn(&Record) -> Vec<EntryPart>;

/// The version of the keys that this program makes.
pub(super) const KEYS_VERSION: u64 = 3;

/// Makes all keys again, if those of the database are of an older version.
pub(super) fn rekey(
    database: &Connection,
    folder: &Path,
    head: Seq,
    now: i64,
    keys_of: KeysOf<'_>,
    damage: &Damage,
) -> Result<(), OpenError> {
    let version = rows::counter(database, rows::DEDUP_KEYS)?;
    if version.is_some_and(|version| version >= KEYS_VERSION) {
        return Ok(());
    }
    let io = |error| OpenError::io(folder, error);
    if head > 0 {
        log::info!("journal: making the dedup keys of all events again, for this version");
        remove_segments(folder).map_err(io)?;
        let window = DedupWindow::open(folder, head, now, DedupTuning::default());
        let mut window = window.map_err(io)?;
        let mut after = 0;
        loop {
            let records = reading::read(database, after, RECORDS, head, damage)?;
            let Some(last) = records.last() else { break };
            let kept = entries_of_deleted(database, &records, head)?;
            after = last.seq;
            let new = records.iter().flat_map(|record| match record.missing {
                None => entries(record, keys_of),
                Some(Missing::Deleted(_)) => kept.get(&record.seq).cloned().unwrap_or_default(),
                // An event that no consumer gets must not make another one a duplicate.
                Some(Missing::Damaged) => Vec::new(),
            });
            for entry in new {
                if entry.until > now {
                    window.restore(entry, now).map_err(unreadable)?;
                }
            }
        }
        window.seal_rest(now).map_err(io)?;
    }
    rows::set_counter(database, rows::DEDUP_KEYS, KEYS_VERSION)?;
    Ok(())
}

fn entries(record: &Record, keys_of: KeysOf<'_>) -> Vec<DedupEntry> {
    let at = record.kept_at.as_millisecond();
    let own = keys_of(record).into_iter();
    let views = record.parts.views(&record.received);
    let new = views.zip(own).filter(|(view, _)| !view.duplicate);
    new.flat_map(|(view, own)| {
        DedupEntry::all_of(own.key, Position::new(record.seq, view.part), at)
    })
    .collect()
}

/// Returns the keys that are stored of the deleted ones among these records. Nothing else is left from which
/// they could be made; those of the same version are still right.
fn entries_of_deleted(
    database: &Connection,
    records: &[Record],
    head: Seq,
) -> rusqlite::Result<HashMap<Seq, Vec<DedupEntry>>> {
    let is_deleted = |record: &&Record| matches!(record.missing, Some(Missing::Deleted(_)));
    let deleted = records.iter().filter(is_deleted);
    let mut found: HashMap<_, Vec<_>> = deleted.map(|record| (record.seq, Vec::new())).collect();
    let (Some(first), Some(last)) = (found.keys().min(), found.keys().max()) else {
        return Ok(found);
    };
    let (before, last) = (first - 1, *last);
    reading::walk(database, reading::ENTRIES, before, head, |block| {
        for entry in block.entries().into_iter().flatten() {
            if let Some(own) = found.get_mut(&entry.position.seq()) {
                own.push(entry);
            }
        }
        Ok(block.last < last)
    })?;
    Ok(found)
}

const RECORDS: usize = 1024;

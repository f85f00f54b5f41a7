//! [`ProgressShapes`]: divides what a consumer has saved among shares, or unites it, for a journal that is moved.
//!
//! Dividing needs no log: what is settled is settled in every share, and what is not is looked at again by all, of
//! which all but one pass it by. Uniting looks at each body that is not settled everywhere: its share decides.

use std::collections::BTreeMap;

use super::{Head, Row, Saved};
use crate::dispatch::progress::{Positions, Progress};
use crate::dispatch::replay::{Replay, ReplayState};
use crate::journal::{Position, Record, Reshape, SavedProgress, Seq, Share, Unite};

/// Knows what progress means.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ProgressShapes;

impl Reshape for ProgressShapes {
    fn positions(&self, saved: &SavedProgress) -> Option<Vec<Position>> {
        let saved = Saved::decode(saved)?;
        let replays = saved.replays.iter();
        let pending = replays.flat_map(|replay| replay.pending.iter());
        let retries = saved.retries.keys().copied();
        Some(
            retries
                .chain(saved.replaying.iter())
                .chain(pending)
                .collect(),
        )
    }

    fn divide(
        &self,
        saved: &SavedProgress,
        shares: Share,
        share_of: &dyn Fn(Position) -> Option<Share>,
    ) -> Option<Vec<SavedProgress>> {
        let (state, rows) = (Saved::decode(saved)?, rows(saved)?);
        let divided = (0..shares).map(|share| {
            let is_own = |position| share_of(position) == Some(share);
            let mut own: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
            for (row, value) in &rows {
                let is_here = match row {
                    Row::Settled(_) | Row::Partly(_) | Row::Statuses(_) => true,
                    Row::Retry(position) => is_own(*position),
                    Row::Replaying(_) | Row::Replay(_) | Row::Pending(..) | Row::Bookmark => false,
                };
                if is_here {
                    own.insert(row.encode(), value.clone());
                }
            }
            let mut part = Saved {
                replaying: only(&state.replaying, is_own),
                ..Saved::default()
            };
            for replay in &state.replays {
                let pending = only(&replay.pending, is_own);
                if share == 0 || !pending.is_empty() {
                    part.changed.insert(Row::Replay(replay.id));
                    part.replays.push(part_of(replay, pending, share == 0));
                }
            }
            for row in part.take_changed().collect::<Vec<_>>() {
                own.extend(part.row(row).map(|value| (row.encode(), value)));
            }
            SavedProgress {
                head: state.head.encode(),
                rows: own.into_iter().collect(),
            }
        });
        Some(divided.collect())
    }

    fn unite(&self, parts: &BTreeMap<Share, SavedProgress>) -> Option<Box<dyn Unite>> {
        let decoded = parts.iter();
        let parts = decoded.map(|(share, saved)| Some((*share, Saved::decode(saved)?)));
        let parts = parts.collect::<Option<BTreeMap<Share, Saved>>>()?;
        let floor = parts.values().map(|part| part.progress.floor()).min()?;
        Some(Box::new(United {
            progress: Progress::starting_after(floor),
            floor,
            parts,
        }))
    }

    fn is_paused(&self, saved: &SavedProgress) -> bool {
        Saved::decode(saved).is_some_and(|saved| saved.head.paused)
    }
}

/// The rows as they are saved, of any version.
fn rows(saved: &SavedProgress) -> Option<Vec<(Row, Vec<u8>)>> {
    if saved.head.is_empty() || serde_json::from_slice::<Head>(&saved.head).is_ok() {
        let rows = saved.rows.iter();
        return rows
            .map(|(key, value)| Some((Row::decode(key)?, value.clone())))
            .collect();
    }
    // All of an older one counts as changed.
    let mut older = Saved::decode(saved)?;
    let changed = older.take_changed().collect::<Vec<_>>().into_iter();
    let rows = changed.filter_map(|row| Some((row, older.row(row)?)));
    Some(rows.collect())
}

fn only(positions: &Positions, is_own: impl Fn(Position) -> bool) -> Positions {
    positions.iter().filter(|one| is_own(*one)).collect()
}

/// The part of a replay in a share. Their numbers are added, so what is done already counts in one of them.
fn part_of(replay: &Replay, pending: Positions, is_first: bool) -> Replay {
    let left = pending.len();
    let (done, others) = match is_first {
        true => (replay.handed_over, replay.matched - replay.pending.len()),
        false => (0, 0),
    };
    let is_done = replay.is_running() && left == 0;
    Replay {
        state: if is_done {
            ReplayState::Done
        } else {
            replay.state
        },
        matched: others + left,
        handed_over: done,
        pending,
        ..replay.clone()
    }
}

/// The progress of all shares on its way to one.
struct United {
    parts: BTreeMap<Share, Saved>,
    progress: Progress,
    /// The lowest floor of all.
    floor: Seq,
}

impl Unite for United {
    fn floor(&self) -> Seq {
        self.floor
    }

    fn take(&mut self, record: &Record) {
        let seq = record.seq;
        if record.missing.is_some() {
            return self.progress.settle_body(seq);
        }
        self.progress.open(seq, record.parts.count());
        for view in record.parts.views(&record.received) {
            let position = Position::new(seq, view.part);
            let own = self.parts.get(&view.share);
            if view.duplicate || own.is_some_and(|own| own.progress.is_settled(position)) {
                self.progress.settle(position);
            }
        }
    }

    fn end(self: Box<Self>) -> SavedProgress {
        let mut all = Saved {
            progress: self.progress,
            ..Saved::default()
        };
        all.head.floor = all.progress.floor();
        for part in self.parts.into_values() {
            let (head, own) = (&mut all.head, part.head);
            head.paused |= own.paused;
            head.failing_ms = head.failing_ms.max(own.failing_ms);
            let earlier = [head.suspended.take(), own.suspended].into_iter().flatten();
            head.suspended = earlier.min_by_key(|one| one.since);
            for (position, waiting) in part.retries {
                all.changed.insert(Row::Retry(position));
                all.retries.insert(position, waiting);
            }
            for position in part.replaying.iter() {
                all.replaying.insert(position);
            }
            for replay in part.replays {
                all.changed.insert(Row::Replay(replay.id));
                match all.replays.iter_mut().find(|one| one.id == replay.id) {
                    Some(known) => {
                        known.add(&replay);
                        replay
                            .pending
                            .iter()
                            .for_each(|one| _ = known.pending.insert(one));
                    }
                    None => all.replays.push(Replay {
                        pending: replay.pending.iter().collect(),
                        ..replay
                    }),
                }
            }
            all.statuses.add(&part.statuses);
        }
        let rows = all.take_changed().collect::<Vec<_>>().into_iter();
        let rows = rows.filter_map(|row| Some((row.encode(), all.row(row)?)));
        let rows: BTreeMap<_, _> = rows.collect();
        SavedProgress {
            head: all.head.encode(),
            rows: rows.into_iter().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::dispatch::replay::ReplayRequest;
    use crate::dispatch::saved::{Suspended, Waiting};
    use crate::journal::{Events, KeptPart, Parts};
    use crate::{Received, Timestamp};

    const SHARES: Share = 3;
    const LAST: Seq = 40;

    /// A body in a session of its own; each fifth has two parts, the second in another session.
    fn record(seq: Seq) -> Record {
        let mut received = Received::new("source", "{}");
        received.session = Some(seq.to_string());
        let part = |session: Option<String>| KeptPart {
            session,
            duplicate: false,
        };
        let mut parts = vec![part(None)];
        if seq.is_multiple_of(5) {
            parts.push(part(Some(format!("other {seq}"))));
        }
        Record {
            seq,
            kept_at: Timestamp::UNIX_EPOCH,
            parts: Parts::several(parts, &received, SHARES),
            received: Arc::new(received),
            events: Events::Unread,
            missing: None,
        }
    }

    fn share_of(position: Position) -> Option<Share> {
        let record = record(position.seq());
        Some(record.parts.view(position.part(), &record.received).share)
    }

    fn encoded(saved: &mut Saved) -> SavedProgress {
        let rows = saved.take_changed().collect::<Vec<_>>().into_iter();
        let rows: BTreeMap<_, _> = rows
            .filter_map(|row| Some((row.encode(), saved.row(row)?)))
            .collect();
        SavedProgress {
            head: saved.head.encode(),
            rows: rows.into_iter().collect(),
        }
    }

    fn saved() -> Saved {
        let mut saved = Saved::starting_after(3);
        for seq in [7, 9, 12] {
            saved.progress.settle_body(seq);
        }
        saved.progress.open(10, 2);
        saved.progress.settle(Position::new(10, 2));
        let waiting = Waiting {
            attempts: 2,
            due: Timestamp::UNIX_EPOCH,
            at: Timestamp::UNIX_EPOCH,
        };
        for position in [Position::first(4), Position::first(5), Position::new(15, 2)] {
            saved.retries.insert(position, waiting);
            saved.changed.insert(Row::Retry(position));
            saved.replaying.insert(position);
        }
        let pending = (20..30).map(Position::first);
        let id = uuid::Uuid::from_u128(1);
        let replay = Replay::new(id, ReplayRequest::default(), pending, Timestamp::UNIX_EPOCH);
        saved.replays.push(Replay {
            matched: 14,
            handed_over: 4,
            ..replay
        });
        saved.changed.insert(Row::Replay(id));
        saved.head.paused = true;
        saved.head.suspended = Some(Suspended {
            since: Timestamp::UNIX_EPOCH,
            reason: "gone".to_owned(),
        });
        saved
    }

    #[test]
    fn what_is_divided_can_be_united() {
        let whole = encoded(&mut saved());
        assert!(ProgressShapes.is_paused(&whole));
        assert_eq!(ProgressShapes.positions(&whole).unwrap().len(), 3 + 3 + 10);
        let parts = ProgressShapes.divide(&whole, SHARES, &share_of).unwrap();
        let retries = |saved: &SavedProgress| Saved::decode(saved).unwrap().retries.len();
        assert_eq!(parts.iter().map(retries).sum::<usize>(), 3);
        assert!(parts.iter().all(|part| retries(part) < 3));
        let parts: BTreeMap<Share, SavedProgress> = (0..).zip(parts).collect();
        let mut united = ProgressShapes.unite(&parts).unwrap();
        assert_eq!(united.floor(), 3);
        (4..=LAST).for_each(|seq| united.take(&record(seq)));
        let (found, expected) = (Saved::decode(&united.end()).unwrap(), saved());
        assert_eq!(found.head, expected.head);
        for seq in 1..=LAST {
            for part in 1..=record(seq).parts.count() {
                let position = Position::new(seq, part);
                let settled = |saved: &Saved| saved.progress.is_settled(position);
                assert_eq!(settled(&found), settled(&expected), "{position}");
            }
        }
        assert_eq!(found.retries, expected.retries);
        let replaying = |saved: &Saved| saved.replaying.iter().collect::<Vec<_>>();
        assert_eq!(replaying(&found), replaying(&expected));
        let [replay] = &found.replays[..] else {
            panic!("{:?}", found.replays);
        };
        assert_eq!(
            (replay.matched, replay.handed_over, replay.pending.len()),
            (14, 4, 10)
        );
        assert!(replay.is_running());
    }

    /// What other shares have passed by or not yet read says nothing.
    #[test]
    fn the_share_of_an_event_decides() {
        let parts = (0..SHARES).map(|share| {
            let mut part = Saved::starting_after(Seq::from(share) * 10);
            let own = |position: &Position| share_of(*position) == Some(share);
            for position in (1..=LAST).map(Position::first).filter(own) {
                if position.seq().is_multiple_of(2) {
                    part.progress
                        .open(position.seq(), record(position.seq()).parts.count());
                    part.progress.settle(position);
                }
            }
            (share, encoded(&mut part))
        });
        let parts: BTreeMap<Share, SavedProgress> = parts.collect();
        let mut united = ProgressShapes.unite(&parts).unwrap();
        (1..=LAST).for_each(|seq| united.take(&record(seq)));
        let found = Saved::decode(&united.end()).unwrap();
        for position in (1..=LAST).map(Position::first) {
            let share = share_of(position).unwrap();
            let is_settled =
                position.seq().is_multiple_of(2) || position.seq() <= Seq::from(share) * 10;
            assert_eq!(
                found.progress.is_settled(position),
                is_settled,
                "{position}"
            );
        }
    }
}

//! [`Preview`]: what a replay would do, before it is asked for.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use actix_web::web;
use futures_util::future::join_all;
use serde::Serialize;

use super::decoding::with_events;
use super::error::ApiError;
use super::plans::Plan;
use super::state::AdminState;
use crate::dispatch::{ConsumerControls, EventStates, HandlerOptions, Order, events_of, find};
use crate::index::EventEntry;
use crate::journal::{Position, Seq};
use crate::{EventKind, Timestamp};

/// What a replay would do.
#[derive(Debug, Default, Serialize)]
pub(super) struct Preview {
    pub(super) oldest: Option<Timestamp>,
    pub(super) newest: Option<Timestamp>,
    /// Of all bodies.
    pub(super) bytes: u64,
    /// How many conversations they are of; `None` if there are too many events to find out.
    pub(super) conversations: Option<usize>,
    /// Events that each of the consumers has settled.
    pub(super) done: u64,
    /// Events that one of the consumers has given up on.
    pub(super) dead: u64,
    /// Events that one of the consumers has still to get, or tries again.
    pub(super) pending: u64,
    /// How long it takes at its rate.
    pub(super) takes_s: Option<u64>,
    pub(super) by_consumer: Vec<Gets>,
    /// How many consumers are not in the list.
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) more_consumers: usize,
}

/// How many of the events a consumer wants.
#[derive(Debug, Serialize)]
pub(super) struct Gets {
    pub(super) name: String,
    pub(super) would_get: u64,
}

fn is_zero(number: &usize) -> bool {
    *number == 0
}

impl Preview {
    /// Of these events, which are sorted, to these consumers.
    pub(super) async fn of(
        state: &AdminState,
        plan: &Plan,
        consumers: &[ConsumerControls],
        events: &Arc<[Position]>,
    ) -> Result<Self, ApiError> {
        let (journal, begun) = (state.pipeline()?.journal(), state.clock.monotonic());
        let open = open(consumers, events).await?;
        let names: BTreeSet<&str> = consumers.iter().map(ConsumerControls::name).collect();
        let listed = consumers.iter().take(MOST_LISTED);
        let listed = listed.map(async |consumer| (consumer.name(), consumer.held_up(0).await));
        let listed = join_all(listed).await.into_iter();
        let listed: Result<Vec<_>, ApiError> = listed
            .map(|(name, one)| Ok((name, one.options.ok_or_else(|| ApiError::restarting(name))?)))
            .collect();
        let listed = listed?;
        let options = listed.iter().map(|(_, options)| options);
        let (mut counts, mut last) = (Counts::of_sessions(options), None);
        let mut preview = Self::default();
        for some in events.chunks(BATCH) {
            if state.clock.monotonic() - begun > LONGEST_COUNT {
                let text =
                    "the preview takes too long; ask for a shorter time, or for one consumer";
                return Err(ApiError::unavailable(text));
            }
            let mut letters = journal.dead_letters_of(some).await?;
            letters.retain(|(name, _)| names.contains(&**name));
            let letters = letters.iter().map(|(_, letter)| letter.position);
            let dead: HashSet<Position> = letters.collect();
            let entries = state.search()?.by_positions(some.to_vec()).await?;
            for entry in entries.iter().filter(|entry| !entry.is_duplicate) {
                let at = events.binary_search(&entry.position);
                let is_open = at.is_ok_and(|at| open.get(at) == Some(&true));
                preview.add(entry, is_open, &dead, &mut last);
                counts.add(entry);
            }
        }
        preview.conversations = conversations(state, events).await?;
        let count = events.len() as u64;
        preview.takes_s = plan.rate.map(|rate| count.div_ceil(u64::from(rate.max(1))));
        let gets = listed.iter().map(|(name, options)| Gets {
            name: (*name).to_owned(),
            would_get: counts.wanted(options),
        });
        preview.by_consumer = gets.collect();
        preview.more_consumers = consumers.len().saturating_sub(MOST_LISTED);
        Ok(preview)
    }

    fn add(
        &mut self,
        entry: &EventEntry,
        is_open: bool,
        dead: &HashSet<Position>,
        last: &mut Option<Seq>,
    ) {
        let (at, position) = (entry.at, entry.position);
        self.oldest = Some(self.oldest.map_or(at, |oldest| oldest.min(at)));
        self.newest = self.newest.max(Some(at));
        // The events of one body have its size.
        if last.replace(position.seq()) != Some(position.seq()) {
            self.bytes += entry.bytes;
        }
        if dead.contains(&position) {
            self.dead += 1;
        } else if is_open {
            self.pending += 1;
        } else {
            self.done += 1;
        }
    }
}

/// How many events there are of each kind: in all, and of the sessions that a consumer names.
#[derive(Debug)]
struct Counts<'a> {
    by_session: HashMap<&'a str, BTreeMap<EventKind, u64>>,
    all: BTreeMap<EventKind, u64>,
}

impl<'a> Counts<'a> {
    fn of_sessions(options: impl Iterator<Item = &'a HandlerOptions>) -> Self {
        let sessions = options.flat_map(|options| options.sessions.iter().flatten());
        Self {
            by_session: sessions
                .map(|session| (&**session, BTreeMap::new()))
                .collect(),
            all: BTreeMap::new(),
        }
    }

    fn add(&mut self, entry: &EventEntry) {
        *self.all.entry(entry.kind).or_default() += 1;
        let session = entry.session.as_deref();
        if let Some(kinds) = session.and_then(|session| self.by_session.get_mut(session)) {
            *kinds.entry(entry.kind).or_default() += 1;
        }
    }

    /// How many a consumer with these options wants.
    fn wanted(&self, options: &HandlerOptions) -> u64 {
        let sum = |counts: &BTreeMap<EventKind, u64>| {
            let wanted = counts.iter().filter(|(kind, _)| options.wants_kind(**kind));
            wanted.map(|(_, count)| count).sum::<u64>()
        };
        match &options.sessions {
            None => sum(&self.all),
            Some(sessions) => {
                let own = sessions
                    .iter()
                    .filter_map(|session| self.by_session.get(&**session));
                own.map(sum).sum()
            }
        }
    }
}

/// Which of the events one of the consumers has still to get, or tries again.
async fn open(
    consumers: &[ConsumerControls],
    events: &Arc<[Position]>,
) -> Result<Vec<bool>, ApiError> {
    let mut open = vec![false; events.len()];
    // Each answer is a copy of all that the consumer knows.
    for some in consumers.chunks(AT_ONCE) {
        let states = join_all(some.iter().map(ConsumerControls::events)).await;
        let events = Arc::clone(events);
        let marked = web::block(move || {
            for share in states.iter().flatten() {
                mark(&mut open, &events, share);
            }
            open
        });
        open = marked
            .await
            .map_err(|_| ApiError::unavailable("the preview was broken off; ask again"))?;
    }
    Ok(open)
}

fn mark(open: &mut [bool], events: &[Position], share: &EventStates) {
    let is_again = !share.replaying.is_empty() || !share.retrying.is_empty();
    let floor = share.progress.floor();
    // All that is older is settled.
    let first = match is_again {
        true => 0,
        false => events.partition_point(|event| event.seq() <= floor),
    };
    for (open, event) in open.iter_mut().zip(events).skip(first) {
        *open = *open
            || !share.progress.is_settled(*event)
            || share.replaying.contains(*event)
            || share.retrying.contains(*event);
    }
}

/// How many conversations the events are of, if that is known in time.
async fn conversations(state: &AdminState, events: &[Position]) -> Result<Option<usize>, ApiError> {
    if events.len() > MOST_READ {
        return Ok(None);
    }
    let (pipeline, started) = (state.pipeline()?, state.clock.monotonic());
    let mut found = HashSet::new();
    for position in events {
        if state.clock.monotonic() - started > LONGEST {
            return Ok(None);
        }
        // Otherwise retention has removed it in the meantime.
        let Some(record) = find(pipeline.journal().as_ref(), position.seq()).await? else {
            continue;
        };
        if record.received.body.len() > LARGEST {
            return Ok(None);
        }
        let record = with_events(pipeline, record).await;
        let view = record.parts.view(position.part(), &record.received);
        let of = events_of(&record, position.part());
        let source = &record.received.source;
        found.insert(Order::Conversation.lane(source, view.session, of));
    }
    Ok(Some(found.len()))
}

/// So many consumers are asked together.
const AT_ONCE: usize = 16;

/// So long events are counted: an answer takes 30 s at most.
const LONGEST_COUNT: Duration = Duration::from_secs(20);

/// How many events are looked up together.
const BATCH: usize = 2000;

/// The conversations of so many events are counted, for so long, if no body is larger.
const MOST_READ: usize = 5000;
const LONGEST: Duration = Duration::from_secs(2);
const LARGEST: usize = 256 * 1024;

/// So many consumers are listed.
const MOST_LISTED: usize = 100;

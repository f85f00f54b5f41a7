//! What is held up: the events that hold up others of their lane, and the sessions that hold up their own.

use std::collections::HashMap;
use std::time::Instant;

use super::Schedule;
use super::left::Scope;
use crate::journal::Position;

/// A session that holds up its own events: some wait for a retry, or it holds all slots that it may hold,
/// or memory has no room for more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HoldingSession {
    /// The event whose retry is due first, or else one that runs or starts next.
    pub(crate) position: Position,
    /// How many attempts of it have ended.
    pub(crate) attempts: u32,
    /// The earliest time of its next attempt, if it waits for one.
    pub(crate) due: Option<Instant>,
    pub(crate) running: usize,
    pub(crate) retrying: usize,
    /// How many events wait in memory.
    pub(crate) waiting: usize,
    /// Whether more were left in the journal.
    pub(crate) more: bool,
}

/// An event that holds up others of its lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Holding {
    pub(crate) position: Position,
    /// How many attempts have ended.
    pub(crate) attempts: u32,
    /// The earliest time of the next attempt; `None` while one runs.
    pub(crate) due: Option<Instant>,
    /// How many events wait behind it in memory.
    pub(crate) behind: usize,
    /// Whether more of its lane were left in the journal.
    pub(crate) more: bool,
}

impl Schedule {
    /// The events that hold up others of their lane: those that wait for a retry, and those that run.
    pub(crate) fn held_up(&self) -> impl Iterator<Item = Holding> {
        self.events.iter().filter_map(|(position, event)| {
            let lane = event.lane?;
            let behind = self.known(lane) - 1;
            let more = self.left.has(Scope::Lane(event.session, lane));
            let retry = self.retries.get(position);
            let holds = event.runs.is_some() || retry.is_some();
            (holds && (more || behind > 0)).then(|| Holding {
                position: *position,
                attempts: retry.map_or(0, |retry| retry.attempts),
                due: retry
                    .filter(|_| event.runs.is_none())
                    .map(|retry| retry.due),
                behind,
                more,
            })
        })
    }

    /// The sessions that hold up their own events.
    pub(crate) fn held_up_sessions(&self) -> impl Iterator<Item = HoldingSession> {
        let running = self.events.iter().filter(|(_, event)| event.runs.is_some());
        let running: HashMap<_, _> = running
            .map(|(position, event)| (event.session, *position))
            .collect();
        self.sessions.all().filter_map(move |(session, waits)| {
            let more = self.left.has(Scope::Session(session));
            let holds = waits.retrying > 0 || waits.is_full || more;
            let position = if waits.retrying > 0 {
                waits.next
            } else {
                running.get(&session).copied().or(waits.next)
            };
            let position = position.filter(|_| holds)?;
            let retry = self.retries.get(&position);
            Some(HoldingSession {
                position,
                attempts: retry.map_or(0, |retry| retry.attempts),
                due: retry
                    .filter(|_| !self.runs(position))
                    .map(|retry| retry.due),
                running: waits.running,
                retrying: waits.retrying,
                waiting: waits.waiting,
                more,
            })
        })
    }
}

//! [`LeftBehind`]: which events were left in the journal because memory is limited, and when they are
//! read again.
//!
//! Reading goes on whatever waits. An event whose session or lane has no room in memory is left in the
//! journal, with all later events of that session or lane. A sweep reads the journal again from the first
//! of them, and takes what has room by then, in order.

use std::collections::HashMap;

use foldhash::fast::FixedState;

use crate::dispatch::lane::{Lane, SessionKey};
use crate::journal::Position;

/// A session or a lane that had no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Scope {
    Session(SessionKey),
    /// With its session, which must have room too.
    Lane(SessionKey, Lane),
}

/// The sessions and lanes with events in the journal that memory does not hold.
#[derive(Debug, Default)]
pub(super) struct LeftBehind {
    scopes: HashMap<Scope, Left, FixedState>,
    /// There may be room for more by now.
    hungry: bool,
    sweep: Option<Sweep>,
    /// How many sweeps there were.
    sweeps: u64,
}

#[derive(Debug)]
struct Left {
    /// No event before this one was left.
    from: Position,
    /// The sweep that could not take an event of this scope. It takes no later one either.
    missed: u64,
}

#[derive(Debug, Clone, Copy)]
struct Sweep {
    number: u64,
    from: Position,
}

impl Sweep {
    /// Whether it has read everything of the scope that was left, up to where it is, and has left nothing.
    fn covers(self, left: &Left) -> bool {
        left.from >= self.from && left.missed != self.number
    }
}

impl LeftBehind {
    pub(super) fn is_empty(&self) -> bool {
        self.scopes.is_empty()
    }

    pub(super) fn has(&self, scope: Scope) -> bool {
        self.scopes.contains_key(&scope)
    }

    /// Whether events of the scope may have been left before this one, so that it must not be taken.
    /// `swept`: the running sweep has just read the event, and so everything between where it began and
    /// the event.
    pub(super) fn blocks(&self, scope: Scope, position: Position, swept: bool) -> bool {
        let Some(left) = self.scopes.get(&scope) else {
            return false;
        };
        left.from <= position && !(swept && self.sweep.is_some_and(|sweep| sweep.covers(left)))
    }

    /// The running sweep has taken this event, or has left it to its lane.
    pub(super) fn passed(&mut self, scope: Scope, position: Position) {
        if let Some(left) = self.scopes.get_mut(&scope)
            && left.from <= position
        {
            left.from = Position::from_bits(position.to_bits() + 1);
        }
    }

    /// Leaves an event in the journal. `swept`: the running sweep has read it, and takes no later one of the
    /// scope either. An event that was read on lies ahead of the sweep.
    pub(super) fn leave(&mut self, scope: Scope, position: Position, swept: bool) {
        let number = self.sweep.filter(|_| swept).map(|sweep| sweep.number);
        let left = self.scopes.entry(scope).or_insert(Left {
            from: position,
            missed: 0,
        });
        left.from = left.from.min(position);
        left.missed = number.unwrap_or(left.missed);
    }

    /// There is more room in memory than before.
    pub(super) fn wants_more(&mut self) {
        self.hungry = true;
    }

    /// All scopes, as the session and the position before which no event was left.
    pub(super) fn all(&self) -> impl Iterator<Item = (SessionKey, Position)> {
        self.scopes.iter().map(|(scope, left)| match scope {
            Scope::Session(session) | Scope::Lane(session, _) => (*session, left.from),
        })
    }

    /// Begins a sweep if a scope wants more and none runs. It serves all scopes that have room. Returns
    /// where it begins. Every other sweep begins at `near` if it can: so what was left a moment ago does not
    /// wait for a sweep through everything that was left long ago.
    pub(super) fn begin_sweep(
        &mut self,
        near: Position,
        wants_more: impl Fn(Scope) -> bool,
        has_room: impl Fn(Scope) -> bool,
    ) -> Option<Position> {
        if !self.hungry || self.sweep.is_some() {
            return None;
        }
        self.hungry = false;
        if !self.scopes.keys().any(|scope| wants_more(*scope)) {
            return None;
        }
        let served = self.scopes.iter().filter(|(scope, _)| has_room(**scope));
        let served = served.map(|(_, left)| left.from);
        let (near, all) = served.fold((None, None), |(near_by, all), from| {
            let least = |found: Option<Position>| Some(found.unwrap_or(from).min(from));
            (
                if from < near { near_by } else { least(near_by) },
                least(all),
            )
        });
        let from = near.filter(|_| self.sweeps.is_multiple_of(2)).or(all)?;
        self.sweeps += 1;
        self.sweep = Some(Sweep {
            number: self.sweeps,
            from,
        });
        Some(from)
    }

    /// Where the running sweep goes on: at the first event that it may take or leave again. `None` if it can
    /// take nothing more.
    pub(super) fn sweep_goes_on(&self, has_room: impl Fn(Scope) -> bool) -> Option<Position> {
        let sweep = self.sweep?;
        let covered = { self.scopes.iter() }.filter(|(_, left)| sweep.covers(left));
        let (mut takes, mut next) = (false, None);
        for (scope, left) in covered {
            let session = match scope {
                Scope::Session(_) => None,
                Scope::Lane(session, _) => self.scopes.get(&Scope::Session(*session)),
            };
            takes |= session.is_none_or(|left| sweep.covers(left)) && has_room(*scope);
            next = Some(next.unwrap_or(left.from).min(left.from));
        }
        next.filter(|_| takes)
    }

    /// Ends the running sweep. Where it has read everything, the scopes that it served have no more events
    /// in the journal.
    pub(super) fn end_sweep(&mut self, read_all: bool) {
        let Some(sweep) = self.sweep.take() else {
            return;
        };
        if read_all {
            self.scopes.retain(|_, left| !sweep.covers(left));
        }
        // Others may have room by now.
        self.hungry = !self.scopes.is_empty();
    }
}

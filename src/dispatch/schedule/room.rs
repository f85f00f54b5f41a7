//! How much memory the events of a session or a lane take, and may take.

use super::Schedule;
use super::left::Scope;
use super::sessions::{BEHIND, three_quarters};
use crate::dispatch::lane::{Lane, SessionKey};

impl Schedule {
    pub(super) fn has_room(&self, scope: Scope) -> bool {
        match scope {
            Scope::Session(session) => self.sessions.memory(session) < self.room(session),
            Scope::Lane(_, lane) => self.known(lane) < self.limits.lane,
        }
    }

    /// Whether the scope has so much room that reading the journal again for it is worth it.
    pub(super) fn wants_more(&self, scope: Scope) -> bool {
        let has_half = |session, wanted: usize| {
            let room = self.room(session);
            room > 0 && self.sessions.memory(session) + wanted.min(room) / 2 <= room
        };
        match scope {
            Scope::Session(session) => has_half(session, usize::MAX),
            Scope::Lane(session, lane) => {
                self.known(lane) <= self.limits.lane / 2
                    && has_half(session, self.limits.lane.saturating_mul(BEHIND))
            }
        }
    }

    /// How many events of the lane are in memory.
    pub(super) fn known(&self, lane: Lane) -> usize {
        let behind = self.lanes.get(&lane);
        behind.map_or(0, |behind| 1 + behind.as_ref().map_or(0, |all| all.len()))
    }

    /// How much memory the events of the session may take.
    fn room(&self, session: SessionKey) -> usize {
        let all = self.limits.memory;
        let others = self.sessions.all_memory() - self.sessions.memory(session);
        if others >= all / 4 * 5 {
            return 0;
        }
        three_quarters(all.saturating_sub(others)).max(all / LEAST_ROOM)
    }
}

/// However many sessions there are, each has room for this fraction of the memory.
const LEAST_ROOM: usize = 2048;

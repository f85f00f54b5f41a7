//! Notes how far the runner has read, so that after a restart new events need not wait until a backlog of
//! other sessions was read again.

use super::Runner;
use crate::dispatch::saved::{Bookmark, Row};

impl Runner {
    /// Reads on from where an earlier process had come. What it had not settled there was left in the
    /// journal, as if there had been no room for it.
    pub(super) fn open_bookmark(&mut self) {
        let progress = &self.state.progress;
        let bookmark = self.state.bookmark.as_ref();
        let Some(bookmark) = bookmark.filter(|bookmark| bookmark.cursor > progress.floor()) else {
            return;
        };
        self.hasher = bookmark.hasher;
        self.reading.cursor = bookmark.cursor;
        for (session, oldest) in &bookmark.oldest {
            let oldest = progress.next_unsettled(oldest.saturating_sub(1));
            if oldest <= bookmark.cursor {
                self.schedule.was_left(*session, oldest);
            }
        }
    }

    /// Places a new bookmark if that is worth it, or removes one that is of no use any more.
    pub(super) fn place_bookmark(&mut self) {
        let (floor, cursor) = (self.state.progress.floor(), self.reading.cursor);
        let every = self.context.tuning.bookmark_every;
        let bookmark = &mut self.state.bookmark;
        if bookmark
            .take_if(|bookmark| bookmark.cursor <= floor)
            .is_some()
        {
            self.state.changed.insert(Row::Bookmark);
        }
        // A replay passes older events of its conversation, which then are not the first of it.
        let replays = !self.state.replaying.is_empty();
        let unsettled = self.state.progress.unsettled(floor, cursor);
        if replays || cursor < self.reading.next_bookmark || unsettled < every {
            return;
        }
        self.reading.next_bookmark = cursor.saturating_add(every);
        if let Some(oldest) = self.schedule.oldest(MOST_SESSIONS) {
            let hasher = self.hasher;
            *bookmark = Some(Bookmark {
                cursor,
                hasher,
                oldest,
            });
            self.state.changed.insert(Row::Bookmark);
        }
    }
}

/// While more sessions have unsettled events, no new bookmark is placed.
const MOST_SESSIONS: usize = 1024;

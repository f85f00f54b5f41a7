//! [`Viewing`]: the place of a viewer, and what it hears there of the [`News`].

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::{broadcast, watch};

use super::news::{Change, ChangeKind, News};

impl News {
    /// Takes a place for a viewer, which listens to these changes.
    ///
    /// # Errors
    ///
    /// When there are as many as there may be, or the server stops.
    pub(crate) fn view(&self, kinds: &[ChangeKind]) -> Result<Viewing, NoPlace> {
        let sent_away = self.0.sent_away.subscribe();
        if sent_away.borrow().is_none() {
            return Err(NoPlace::Stopping);
        }
        let most = self.0.max_viewers.load(Ordering::Relaxed);
        let has_place = self.0.viewers.send_if_modified(|viewers| {
            let has_place = *viewers < most;
            *viewers += usize::from(has_place);
            has_place
        });
        if !has_place {
            return Err(NoPlace::Taken(most));
        }
        let (mut states, mut others) = (None, None);
        if !kinds.is_empty() {
            let channels = self.0.listen();
            if kinds.contains(&ChangeKind::State) {
                states = Some(Line::of(&channels.states));
            }
            if kinds.iter().any(|kind| *kind != ChangeKind::State) {
                others = Some(Line::of(&channels.others));
            }
        }
        Ok(Viewing {
            listens: !kinds.is_empty(),
            states,
            others,
            sent_away,
            news: self.clone(),
        })
    }
}

/// The place of a viewer; free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Viewing {
    listens: bool,
    states: Option<Line>,
    others: Option<Line>,
    sent_away: watch::Receiver<Option<u64>>,
    news: News,
}

/// The changes that one viewer has not heard, of one channel.
#[derive(Debug)]
struct Line {
    from: broadcast::Receiver<Arc<Change>>,
    next: Option<Heard>,
}

/// What a viewer hears.
#[derive(Debug)]
pub(crate) enum Heard {
    Change(Arc<Change>),
    /// So many changes of one channel were missed: states, or others.
    Missed {
        states: bool,
        changes: u64,
    },
}

impl Line {
    fn of(channel: &broadcast::Sender<Arc<Change>>) -> Self {
        Self {
            from: channel.subscribe(),
            next: None,
        }
    }

    /// The number of the next change, if there is one.
    fn number(&mut self, states: bool) -> Option<u64> {
        if self.next.is_none() {
            self.next = match self.from.try_recv() {
                Ok(change) => Some(Heard::Change(change)),
                Err(broadcast::error::TryRecvError::Lagged(changes)) => {
                    Some(Heard::Missed { states, changes })
                }
                Err(_) => None,
            };
        }
        match self.next.as_ref()? {
            Heard::Change(change) => Some(change.number),
            // They were before all others.
            Heard::Missed { .. } => Some(0),
        }
    }

    /// Returns when there is a change. Dropping the future loses nothing.
    async fn wait(&mut self, states: bool) {
        if self.next.is_some() {
            return;
        }
        self.next = match self.from.recv().await {
            Ok(change) => Some(Heard::Change(change)),
            Err(broadcast::error::RecvError::Lagged(changes)) => {
                Some(Heard::Missed { states, changes })
            }
            // It is there as long as somebody listens.
            Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
        };
    }
}

impl Viewing {
    /// How many changes were told so far, to anybody.
    pub(crate) fn told(&self) -> u64 {
        self.news.0.told.load(Ordering::Acquire)
    }

    /// The next change, of those that were told before the given numbers: states, and others.
    pub(crate) fn hear(&mut self, states_before: u64, others_before: u64) -> Option<Heard> {
        let state = self.states.as_mut().and_then(|line| line.number(true));
        let state = state.filter(|number| *number < states_before);
        let other = self.others.as_mut().and_then(|line| line.number(false));
        let other = other.filter(|number| *number < others_before);
        let line = match (state, other) {
            (Some(state), Some(other)) if state < other => &mut self.states,
            (Some(_), None) => &mut self.states,
            (_, Some(_)) => &mut self.others,
            (None, None) => return None,
        };
        line.as_mut()?.next.take()
    }

    /// Returns when there is something to hear, or the viewer has to go. With `states`, also a state.
    /// Dropping the future loses nothing.
    pub(crate) async fn wait(&mut self, states: bool) {
        let wait = async |line: Option<&mut Line>, states| match line {
            Some(line) => line.wait(states).await,
            None => std::future::pending().await,
        };
        let state = wait(self.states.as_mut().filter(|_| states), true);
        let other = wait(self.others.as_mut(), false);
        tokio::select! {
            biased;
            _ = self.sent_away.changed() => self.sent_away.mark_changed(),
            () = state => {}
            () = other => {}
        }
    }

    /// Returns when the viewer has to go.
    pub(crate) async fn bye(&mut self) {
        // A viewer that asks then is told so, too.
        let _ = self.sent_away.changed().await;
        self.sent_away.mark_changed();
    }

    /// Whether the viewer has to go.
    pub(crate) fn is_sent_away(&self) -> bool {
        self.sent_away.has_changed().unwrap_or(true)
    }
}

impl Drop for Viewing {
    fn drop(&mut self) {
        if self.listens {
            self.news.0.stop_listening();
        }
        self.news.0.viewers.send_modify(|viewers| *viewers -= 1);
    }
}

/// Why there is no place for another viewer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoPlace {
    /// There are so many already.
    Taken(usize),
    Stopping,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::news::STATES;
    use super::*;

    fn told(news: &News, kind: ChangeKind, number: u64) {
        news.tell(kind, None, || json!(number));
    }

    /// What the viewer hears.
    fn all(viewer: &mut Viewing, states_before: u64, others_before: u64) -> Vec<String> {
        let heard = std::iter::from_fn(|| viewer.hear(states_before, others_before));
        let text = |heard| match heard {
            Heard::Change(change) => change.data.clone(),
            Heard::Missed { states, changes } => format!("{states} {changes}"),
        };
        heard.map(text).collect()
    }

    #[actix_web::test]
    async fn changes_are_heard_in_order() {
        let news = News::new();
        let mut viewer = news.view(&ChangeKind::ALL).unwrap();
        told(&news, ChangeKind::State, 0);
        told(&news, ChangeKind::Consumer, 1);
        told(&news, ChangeKind::State, 2);
        let now = viewer.told();
        told(&news, ChangeKind::Replay, 3);
        told(&news, ChangeKind::State, 4);
        assert_eq!(all(&mut viewer, now, now), ["0", "1", "2"]);
        // Without room for states the others come.
        assert_eq!(all(&mut viewer, 0, u64::MAX), ["3"]);
        assert_eq!(all(&mut viewer, u64::MAX, u64::MAX), ["4"]);
    }

    /// States take away nothing but states, and only from those that listen to them.
    #[actix_web::test]
    async fn a_slow_listener_misses_the_oldest_states() {
        let news = News::new();
        let mut viewer = news.view(&ChangeKind::ALL).unwrap();
        let mut hears_consumers = news.view(&[ChangeKind::Consumer]).unwrap();
        told(&news, ChangeKind::Consumer, 77);
        for number in 0..STATES as u64 + 7 {
            told(&news, ChangeKind::State, number);
        }
        let heard = all(&mut viewer, u64::MAX, u64::MAX);
        assert_eq!(heard[..3], ["77", "true 7", "7"]);
        assert_eq!(heard.len(), STATES + 2);
        assert_eq!(all(&mut hears_consumers, u64::MAX, u64::MAX), ["77"]);
    }

    #[actix_web::test]
    async fn nothing_is_made_while_nobody_listens() {
        let news = News::new();
        let only_events = news.view(&[]).unwrap();
        news.tell(ChangeKind::State, None, || panic!("nobody listens"));
        let mut viewer = news.view(&ChangeKind::ALL).unwrap();
        news.tell(ChangeKind::State, None, || json!(1));
        viewer.wait(true).await;
        let Some(Heard::Change(change)) = viewer.hear(1, 1) else {
            panic!("no change");
        };
        assert_eq!((change.kind, &*change.data), (ChangeKind::State, "1"));
        drop((viewer, only_events));
        news.tell(ChangeKind::State, None, || panic!("it has gone"));
        assert!(news.0.channels().is_none());
        assert_eq!(news.viewers(), 0);
    }

    #[actix_web::test]
    async fn viewers_are_counted_and_sent_away() {
        let news = News::new();
        news.set_max_viewers(1);
        let mut viewer = news.view(&ChangeKind::ALL).unwrap();
        assert_eq!(news.view(&[]).unwrap_err(), NoPlace::Taken(1));
        assert!(!viewer.is_sent_away());
        news.send_away();
        assert!(viewer.is_sent_away());
        viewer.wait(false).await;
        viewer.bye().await;
        assert!(viewer.is_sent_away());
        drop(viewer);
        let mut again = news.view(&ChangeKind::ALL).unwrap();
        let ended = news.end();
        let gone = async {
            again.bye().await;
            drop(again);
        };
        futures_util::future::join(ended, gone).await;
        assert_eq!(news.view(&ChangeKind::ALL).unwrap_err(), NoPlace::Stopping);
    }
}

//! Verifies refused requests again, with the settings of now. Only a [`Verified`](crate::signature::Verified) gets
//! to the engine, as any other request.

use std::collections::HashMap;
use std::sync::Arc;

use uuid::Uuid;

use super::receive::Ingress;
use crate::Event;
use crate::engine::{Accepted, Envelope, NotAccepted};
use crate::refused::{Kept, RefusedRequests};

/// What has become of a refused request that was verified again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Recovered {
    /// Its signature is right now. It was only tried.
    Valid,
    /// It is an event now, with this id, and no longer kept as a refused request.
    Accepted { event: Uuid, is_duplicate: bool },
    /// Its signature is right now, but the event could not be taken.
    NotAccepted(NotAccepted),
    /// Its signature is right now, and it only tests the address: it is no event, and no longer kept.
    Test,
    /// It proves its sender no more than before.
    Invalid,
}

impl Ingress {
    /// Verifies these requests again, in this order, and has the engine take those that are valid, one after
    /// the other. Behind one that a handler has failed nothing of its sessions is taken, and
    /// behind one that cannot be stored nothing at all. They are selected when no other call runs, so that none is taken by
    /// two.
    pub(crate) async fn recover(
        self: &Arc<Self>,
        select: impl FnOnce(&RefusedRequests) -> Vec<Arc<Kept>>,
        dry_run: bool,
    ) -> Vec<Recovered> {
        let _alone = self.recovering.lock().await;
        let which = select(self.refused());
        let mut recovered = Vec::with_capacity(which.len());
        let (mut stopped, mut is_full) = (HashMap::new(), None);
        for some in which.chunks(AT_ONCE) {
            // A flood may have taken their places meanwhile.
            let (ingress, judged) = (Arc::clone(self), some.to_vec());
            // A body may be large, and may have to be decoded.
            let judged = tokio::task::spawn_blocking(move || {
                let judged = judged.iter().map(|kept| ingress.verify_again(kept));
                judged.collect::<Vec<_>>()
            });
            // A scheme of the program's own has panicked. What comes later must not overtake these.
            let Ok(judged) = judged.await else { break };
            for (kept, opened) in some.iter().zip(judged) {
                recovered.push(match opened {
                    None => Recovered::Invalid,
                    Some(_) if dry_run => Recovered::Valid,
                    Some(None) => {
                        self.refused().remove(kept.id);
                        Recovered::Test
                    }
                    Some(Some((envelope, events))) => {
                        // What comes after one that could not be taken must not overtake it.
                        let own = envelope.received().session.as_deref();
                        let sessions = events.iter().map(|event| event.session_id().or(own));
                        let sessions: Vec<_> = sessions
                            .map(|session| (kept.source.clone(), session.map(str::to_owned)))
                            .collect();
                        let before = sessions.iter().find_map(|session| stopped.get(session));
                        let before = is_full.or(before.copied());
                        let taken = match before {
                            Some(why) => Recovered::NotAccepted(why),
                            None => self.take_recovered(kept, envelope, events).await,
                        };
                        if let Recovered::NotAccepted(why) = taken {
                            is_full = is_full.or((why == NotAccepted::Unavailable).then_some(why));
                            stopped.extend(sessions.into_iter().map(|session| (session, why)));
                        }
                        taken
                    }
                });
            }
        }
        recovered
    }

    /// Forgets the refused requests of a source, or all, when none is being verified: what is forgotten is taken by nobody.
    /// Returns how many those were.
    pub(crate) async fn forget(&self, source: Option<&str>) -> usize {
        let _alone = self.recovering.lock().await;
        self.refused().forget(source)
    }

    /// The request as its source reads it now; `None` if its signature is not right, `Some(None)` if it only tests the
    /// address.
    fn verify_again(&self, kept: &Kept) -> Option<Option<(Envelope, Vec<Event>)>> {
        let table = self.table();
        let served = table.named(kept.source.as_deref()?)?;
        // The settings of now may need a header that was of no use when it came.
        if kept.lacks(&served.needed) {
            return None;
        }
        let body = kept.body()?.clone();
        let verified = served
            .verify
            .verify_again(&kept.head(), kept.session(), body, kept.at)
            .ok()?;
        let answer = served.handshake.and_then(|of| of(verified.body()));
        Some({ answer.is_none() }.then(|| {
            let (mut envelope, events) = Envelope::open(verified, &served.reader);
            envelope.was_refused(self.now());
            (envelope, events)
        }))
    }

    async fn take_recovered(
        &self,
        kept: &Kept,
        envelope: Envelope,
        events: Vec<Event>,
    ) -> Recovered {
        let event = envelope.received().id;
        if !self.running().has_room() {
            return Recovered::NotAccepted(NotAccepted::Unavailable);
        }
        let work = Arc::clone(self.engine()).accept(envelope, events.into());
        match self.running().finish(work).await {
            Ok(accepted) => {
                self.refused().remove(kept.id);
                let is_duplicate = accepted == Accepted::Duplicate;
                Recovered::Accepted {
                    event,
                    is_duplicate,
                }
            }
            Err(error) => Recovered::NotAccepted(error),
        }
    }
}

/// How many are judged before the engine takes those that are valid, one after the other.
const AT_ONCE: usize = 64;

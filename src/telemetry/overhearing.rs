//! [`Overhearing`]: where several instances share a journal, the states that this one tells are passed on to those at which
//! somebody watches.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use super::news::{About, Change, ChangeKind, News};

/// Listens to states for viewers of other instances. It takes no place of a viewer.
#[derive(Debug)]
pub(crate) struct Overhearing {
    states: broadcast::Receiver<Arc<Change>>,
    news: News,
}

/// A state, as one instance passes it on.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PassedOn {
    source: Option<String>,
    session: Option<String>,
    /// A kind that this version does not know passes no filter of kinds.
    event: Option<String>,
    data: Box<RawValue>,
}

impl News {
    /// Begins to listen for viewers of other instances.
    pub(crate) fn overhear(&self) -> Overhearing {
        Overhearing {
            states: self.0.listen().states.subscribe(),
            news: self.clone(),
        }
    }

    /// Tells a state that another instance has passed on.
    pub(crate) fn tell_elsewhere(&self, state: PassedOn) {
        let PassedOn {
            source,
            session,
            event,
            data,
        } = state;
        let about = source.map(|source| About {
            source,
            session,
            event: event.and_then(|event| event.parse().ok()),
        });
        self.pass(ChangeKind::State, about, true, || {
            String::from(Box::<str>::from(data))
        });
    }
}

impl Overhearing {
    /// Waits for the next state of this instance. Dropping the future loses nothing.
    pub(crate) async fn next(&mut self) -> PassedOn {
        loop {
            match self.states.recv().await {
                Ok(change) if change.elsewhere => {}
                Ok(change) => {
                    if let Some(passed_on) = passed_on(&change) {
                        return passed_on;
                    }
                }
                // There are more than a viewer takes.
                Err(RecvError::Lagged(_)) => {}
                // It is there as long as somebody listens.
                Err(RecvError::Closed) => std::future::pending().await,
            }
        }
    }
}

fn passed_on(change: &Change) -> Option<PassedOn> {
    let data = RawValue::from_string(change.data.clone()).ok()?;
    let (source, session, event) = match &change.about {
        Some(about) => (
            Some(about.source.clone()),
            about.session.clone(),
            about.event.map(|event| event.as_str().to_owned()),
        ),
        None => (None, None, None),
    };
    Some(PassedOn {
        source,
        session,
        event,
        data,
    })
}

impl Drop for Overhearing {
    fn drop(&mut self) {
        self.news.0.stop_listening();
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::viewing::Heard;
    use super::*;
    use crate::EventKind;

    /// Two instances pass on to each other what they tell, and nothing comes back.
    #[actix_web::test]
    async fn what_is_passed_on_is_heard_once() {
        let (here, there) = (News::new(), News::new());
        let mut viewer = here.view(&[ChangeKind::State]).unwrap();
        let (mut from_here, mut from_there) = (here.overhear(), there.overhear());
        let about = About {
            source: "one".to_owned(),
            session: Some("s".to_owned()),
            event: Some(EventKind::Message),
        };
        let data = json!({ "id": 1, "outcome": "\"quoted\"" });
        there.tell(ChangeKind::State, Some(about.clone()), || data.clone());
        let text = serde_json::to_string(&from_there.next().await).unwrap();
        here.tell_elsewhere(serde_json::from_str(&text).unwrap());
        let Some(Heard::Change(change)) = viewer.hear(9, 9) else {
            panic!("no change")
        };
        assert_eq!(change.about, Some(about));
        assert_eq!(change.data, data.to_string());
        here.tell(ChangeKind::State, None, || json!("own"));
        let own = from_here.next().await;
        assert_eq!((own.source, own.data.get()), (None, "\"own\""));
        drop((viewer, from_here, from_there));
        assert!(!here.is_heard() && !there.is_heard());
    }
}

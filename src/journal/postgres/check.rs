//! What a start verifies of a server before it is used.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::timeout;
use uuid::Uuid;

use super::connect::{Connector, Role};
use super::facts::{FACTS, Facts, Observation, Verdict, judge};
use super::options::PostgresOptions;
use super::session::{Listener, Session};
use crate::clock::Clock;
use crate::journal::Unavailable;

/// Looks at the server, and what its user may do.
pub(super) async fn server(
    session: &Session,
    options: &PostgresOptions,
    clock: &dyn Clock,
) -> Vec<Observation> {
    let (before, began) = (clock.now(), clock.monotonic());
    let read = session.read(FACTS, &[&options.schema]).await;
    let took = clock.monotonic().saturating_duration_since(began);
    match read {
        Ok(rows) => judge(&Facts::of(&rows[0], before, took), options),
        Err(why) => vec![unreadable(&why)],
    }
}

fn unreadable(why: &Unavailable) -> Observation {
    let told = format!(
        "the database cannot be read: {why}; offhook must be connected to PostgreSQL itself, or to a pooler that pools \
         sessions and not transactions"
    );
    Observation::new("connection", Verdict::Unfit, told)
}

/// Whether a notification arrives. Behind a pooler that pools transactions it does not.
pub(super) async fn hears(
    connector: &Arc<Connector>,
    session: &Session,
    options: &PostgresOptions,
) -> Observation {
    let observation = |verdict, told: String| Observation::new("notifications", verdict, told);
    // Instances that listen too do not understand it.
    let (probe, heard) = (format!("p{}", Uuid::now_v7()), Arc::new(Notify::new()));
    let listener: Listener = {
        let (probe, heard) = (probe.clone(), Arc::clone(&heard));
        Arc::new(move |message: &str| {
            if message == probe {
                heard.notify_one();
            }
        })
    };
    let listening = match connector.connect(&Role::Listener(listener)).await {
        Ok(listening) => listening,
        Err(why) => {
            let told = format!("a second connection cannot be made: {why}");
            return observation(Verdict::Unfit, told);
        }
    };
    let asked = session.read(NOTIFY, &[&options.schema, &probe]).await;
    let is_heard = match asked {
        Ok(_) => timeout(HEARD_WITHIN, heard.notified()).await.is_ok(),
        Err(why) => return unreadable(&why),
    };
    listening.end();
    if is_heard {
        return observation(Verdict::Good, "instances hear of each other".to_owned());
    }
    observation(
        Verdict::Unfit,
        "a notification does not arrive: offhook must be connected to PostgreSQL itself, or to a pooler that pools \
         sessions and not transactions"
            .to_owned(),
    )
}

const NOTIFY: &str = "SELECT pg_notify($1, $2)";
const HEARD_WITHIN: Duration = Duration::from_secs(3);

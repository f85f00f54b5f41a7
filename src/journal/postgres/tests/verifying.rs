//! Reading all of a journal, to find what is not what was written.

use std::sync::Arc;

use super::joining::run;
use super::{open, options, server};
use crate::clock::SystemClock;
use crate::journal::Log as _;
use crate::journal::contract::{new, numbered};
use crate::journal::postgres::{Postgres, PostgresError};

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_what_was_written_is_listed() {
    let Some(server) = server::Server::shared() else {
        return;
    };
    let options = options(server);
    let verify = async || Postgres::verify(&options, Arc::new(SystemClock)).await;
    let none = verify().await;
    assert!(matches!(none, Err(PostgresError::Unfit(_))), "{none:?}");
    let journal = open(&options).await;
    for number in 1..=7 {
        new(&journal, numbered(number)).await;
    }
    journal.delete(&[2]).await.unwrap();
    journal.trim(1).await.unwrap();
    let whole = verify().await.unwrap();
    assert!(whole.is_whole(), "{whole:?}");
    assert_eq!((whole.events, whole.newest), (5, 7));
    let damage = "UPDATE block SET bodies = set_byte(bodies, 0, get_byte(bodies, 0) # 1) WHERE last = 3; \
                  DELETE FROM block WHERE last IN (5, 6)";
    run(&journal, damage).await;
    let found = verify().await.unwrap();
    assert_eq!((found.events, found.newest), (2, 7));
    let events: Vec<_> = found.damaged.iter().map(|one| one.events).collect();
    assert_eq!(events, [Some((3, 3)), Some((5, 6))]);
    assert_eq!(found.damaged[1].text, "events 5 to 6: missing");
}

//! What is verified of a database, row by row.

use std::sync::Arc;
use std::time::Duration;

use super::proxy::{Flow, Proxy};
use super::server::Server;
use super::{open, options, try_open};
use crate::Timestamp;
use crate::clock::{Clock, FakeClock, SystemClock};
use crate::journal::postgres::Verdict::{Doubtful, Good, Unfit};
use crate::journal::postgres::{Postgres, PostgresError, PostgresOptions, Verdict};
use crate::journal::{Cluster as _, Log as _, Share};

/// What is not good, but for checksums, which this server has not.
async fn found(options: &PostgresOptions) -> Vec<(&'static str, Verdict)> {
    found_at(options, Arc::new(SystemClock)).await
}

async fn found_at(
    options: &PostgresOptions,
    clock: Arc<dyn Clock>,
) -> Vec<(&'static str, Verdict)> {
    let found = Postgres::check(options, clock).await;
    let doubted = found
        .iter()
        .filter(|one| one.verdict != Good && one.what != "checksums");
    doubted.map(|one| (one.what, one.verdict)).collect()
}

/// Runs statements as the administrator, one after the other.
async fn run(server: &Server, statements: &[&str]) {
    let options = PostgresOptions::new(&server.url()).unwrap();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let runtime = tokio::runtime::Handle::current();
    let connector = super::super::connect::Connector::new(&options, runtime, clock).unwrap();
    let connector = Arc::new(connector);
    let role = super::super::connect::Role::Durable;
    let session = connector.connect(&role).await;
    for statement in statements {
        session.as_ref().unwrap().run(statement).await.unwrap();
    }
}

fn as_user(server: &Server, user: &str) -> PostgresOptions {
    let url = server.url().replace("offhook@", &format!("{user}@"));
    PostgresOptions::new(&url)
        .unwrap()
        .schema(format!("of_{user}"))
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fit_database_is_fit() {
    let Some(server) = Server::shared() else {
        return;
    };
    let options = options(server);
    let all = Postgres::check(&options, Arc::new(SystemClock)).await;
    let whats: Vec<_> = all.iter().map(|one| (one.what, one.verdict)).collect();
    let expected = [
        ("version", Good),
        ("disk", Good),
        ("commits", Good),
        ("checksums", Doubtful),
        ("privileges", Good),
        ("clock", Good),
        ("connections", Good),
        ("durability", Good),
        ("notifications", Good),
        ("journal", Good),
    ];
    assert_eq!(whats, expected, "{all:#?}");
    // Nothing was created.
    let again = Postgres::check(&options, Arc::new(SystemClock)).await;
    let whats: Vec<_> = again.iter().map(|one| (one.what, one.verdict)).collect();
    assert_eq!(whats, expected, "{again:#?}");
    let journal = open(&options).await;
    let more = Postgres::check(&options, Arc::new(SystemClock)).await;
    let more: Vec<_> = more[9..].iter().map(|one| (one.what, &*one.told)).collect();
    let expected = [
        ("journal", "format 1"),
        ("shares", "16"),
        ("dedup windows", "7days and 1m"),
        ("instances", "running: offhook"),
        ("lease", "10s"),
        ("settings", "they are not known to differ"),
    ];
    assert_eq!(more, expected);
    journal.close().await;
}

/// What a user or the settings of this instance can be wrong in.
#[tokio::test(flavor = "multi_thread")]
async fn each_unfit_user_or_setting_is_found() {
    let Some(server) = Server::shared() else {
        return;
    };
    run(server, &["CREATE ROLE poor LOGIN"]).await;
    let poor = as_user(server, "poor");
    assert_eq!(found(&poor).await, [("privileges", Unfit)]);
    let refused = try_open(&poor).await;
    assert!(
        matches!(refused, Err(PostgresError::Unfit(_))),
        "{refused:?}"
    );
    run(server, &["CREATE SCHEMA of_poor AUTHORIZATION poor"]).await;
    assert_eq!(found(&poor).await, []);
    let journal = open(&poor).await;

    // Another user's tables.
    run(
        server,
        &[
            "CREATE ROLE other LOGIN",
            "GRANT ALL ON SCHEMA of_poor TO other",
        ],
    )
    .await;
    let other = as_user(server, "other").schema("of_poor").unwrap();
    assert_eq!(
        found(&other).await,
        [("privileges", Unfit), ("journal", Unfit)]
    );
    run(server, &["GRANT poor TO other"]).await;
    assert_eq!(found(&other).await, []);

    // What all instances must agree on.
    let day = Duration::from_secs(24 * 3600);
    let windows = poor.clone().windows(day, day);
    let shares = |shares: Share| poor.clone().shares(shares);
    assert_eq!(found(&shares(5)).await, [("shares", Unfit)]);
    assert_eq!(found(&windows).await, [("dedup windows", Unfit)]);
    // What they should agree on.
    let lease = poor.clone().lease(Duration::from_secs(6));
    assert_eq!(found(&lease).await, [("lease", Doubtful)]);
    journal.runs("one".to_owned());
    let said = "UPDATE of_poor.instance SET settings = 'one'";
    run(server, &[said]).await;
    let fingerprint = |settings: &str| poor.clone().fingerprint(settings);
    assert_eq!(found(&fingerprint("one")).await, []);
    assert_eq!(found(&fingerprint("two")).await, [("settings", Doubtful)]);
    journal.close().await;
    assert_eq!(found(&windows).await, [("dedup windows", Doubtful)]);
    run(server, &["UPDATE of_poor.meta SET oldest_reader = 2"]).await;
    assert_eq!(found(&poor).await, [("journal", Unfit)]);
    assert!(matches!(
        try_open(&poor).await,
        Err(PostgresError::Unfit(_))
    ));
    run(server, &["DELETE FROM of_poor.meta"]).await;
    assert_eq!(found(&poor).await, [("journal", Unfit)]);

    let replicated = poor.clone().replicated(true);
    let replicated = replicated.schema("replicated").unwrap();
    run(server, &["CREATE SCHEMA replicated AUTHORIZATION poor"]).await;
    assert_eq!(found(&replicated).await, [("durability", Unfit)]);
    let past: Arc<dyn Clock> = Arc::new(FakeClock::new(Timestamp::UNIX_EPOCH));
    let fine = poor.clone().schema("replicated").unwrap();
    assert_eq!(found_at(&fine, past).await, [("clock", Doubtful)]);

    run(server, &["ALTER ROLE poor CONNECTION LIMIT 4"]).await;
    assert_eq!(found(&fine).await, [("connections", Doubtful)]);
    run(
        server,
        &[
            "ALTER ROLE poor CONNECTION LIMIT -1",
            "ALTER ROLE poor SET synchronous_commit = off",
        ],
    )
    .await;
    assert_eq!(found(&fine).await, [("commits", Unfit)]);
    assert!(matches!(
        try_open(&fine).await,
        Err(PostgresError::Unfit(_))
    ));
    run(
        server,
        &[
            "ALTER ROLE poor RESET ALL",
            "ALTER ROLE poor SET default_transaction_read_only = on",
        ],
    )
    .await;
    let all = Postgres::check(&fine, Arc::new(SystemClock)).await;
    assert_eq!(all.len(), 1);
    assert_eq!((all[0].what, all[0].verdict), ("connection", Unfit));
    assert!(
        all[0].told.contains("does not allow writes"),
        "{}",
        all[0].told
    );
}

/// Behind a pooler that pools transactions, instances would not hear of each other.
#[tokio::test(flavor = "multi_thread")]
async fn a_pooler_of_transactions_is_refused() {
    let Some(server) = Server::shared() else {
        return;
    };
    let proxy = Proxy::to(server.port()).await;
    let behind = PostgresOptions::new(&proxy.url()).unwrap();
    let behind = behind.schema("behind_a_pooler").unwrap();
    assert_eq!(found(&behind).await, []);
    proxy.set(Flow::NoNotifications);
    assert_eq!(found(&behind).await, [("notifications", Unfit)]);
    let refused = try_open(&behind).await;
    assert!(
        matches!(refused, Err(PostgresError::Unfit(_))),
        "{refused:?}"
    );
    proxy.set(Flow::Cut);
    assert_eq!(found(&behind).await, [("connection", Unfit)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unsafe_server_is_refused() {
    let Some(server) = Server::start() else {
        return;
    };
    for setting in ["fsync=off", "full_page_writes=off"] {
        server.restart_with(&[setting]);
        let options = options(&server);
        assert_eq!(found(&options).await, [("disk", Unfit)]);
        let refused = try_open(&options).await;
        let told = refused.unwrap_err().to_string();
        assert!(told.contains(&setting.replace('=', " = ")), "{told}");
    }
}

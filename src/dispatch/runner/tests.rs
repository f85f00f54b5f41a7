//! Tests the runner's loop, with a handler that does what each test wants, on a clock that moves only
//! when the test moves it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt as _;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::tasks::Attempts;
use super::{DispatchTuning, Ending, Runner, RunnerContext};
use crate::Timestamp;
use crate::clock::Clock;
use crate::dialect::Decoder;
use crate::dialect::{Codeskytz, Dialect as _};
use crate::dispatch::large::LargeBodies;
use crate::dispatch::replay::ReplayRequest;
use crate::dispatch::saved::Saved;
use crate::dispatch::{Consumer, ConsumerControls, HandlerOptions, Order, Retry};
use crate::journal::{
    Cluster, DedupKey, Desk, Entry, EntryPart, FakeCluster, Grant, Hold, Journal, Memory, Position,
    ProgressChange, SavedProgress, Seq, Share, Sqlite, TestFolder, Unavailable,
};
use crate::telemetry::{JournalMetrics, Metrics};
use crate::testing::FakeClock;
use crate::{Delivery, Event, EventHandler, EventKind, HandlerError, Received, Source};

#[tokio::test]
async fn fresh_events_pass_ten_thousand_retries() {
    let options = HandlerOptions::default().order(Order::None).concurrency(8);
    let mut world = World::new(options, |attempt| match attempt {
        1 => Then::Fail,
        _ => Then::Hang,
    });
    world.tuning = DispatchTuning::default();
    let (runner, _controls) = world.runner().await;
    let _life = Life::of(runner);
    for _ in 0..10_000 {
        world.append(EventKind::Message).await;
    }
    for seq in 1..=10_000 {
        assert_eq!(world.begun().await, (seq, 1));
    }
    world.clock.advance(Duration::from_secs(2));
    // One session may hold six of eight slots, and five of those are for retries. These never end.
    for _ in 0..5 {
        assert_eq!(world.begun().await.1, 2);
    }
    for fresh in 10_001..=10_100 {
        world.append(EventKind::Message).await;
        assert_eq!(world.begun().await, (fresh, 1));
    }
    world.nothing_begins().await;
}

/// What was read of a log that goes back is not used any more.
#[tokio::test]
async fn a_log_that_goes_back_ends_the_runner() {
    let mut world = World::new(HandlerOptions::default(), |_| Then::Hang);
    let (runner, _controls) = world.runner().await;
    let life = Life::of(runner);
    world.append(EventKind::Message).await;
    assert_eq!(world.begun().await, (1, 1));
    world.journal.tail().reset(0);
    let ended = tokio::time::timeout(Duration::from_secs(60), life.task).await;
    ended.expect("it ends").unwrap();
    // A new one begins from what is stored.
    let (runner, _controls) = world.runner().await;
    assert_eq!(runner.status().in_flight, 0);
}

/// A new event need not wait until the backlog of another session was read again after a restart.
#[tokio::test]
async fn a_restart_reads_on_before_it_reads_a_backlog_again() {
    const BACKLOG: Seq = 2_000;
    let options = HandlerOptions::default().concurrency(8);
    let mut world = World::new(options, |_| Then::Fail);
    let (runner, _controls) = world.runner().await;
    let life = Life::of(runner);
    for number in 1..=BACKLOG {
        world.append_parts(&[("bad", number)]).await;
    }
    assert_eq!(world.begun().await, (1, 1));
    world.nothing_begins().await;
    world.clock.advance(Duration::from_secs(2));
    assert_eq!(world.begun().await, (1, 2));
    world.nothing_begins().await;
    life.kill().await;
    world.append_parts(&[("good", BACKLOG + 1)]).await;
    let (mut runner, _controls) = world.runner().await;
    // Two steps read 64 bodies.
    for _ in 0..2 {
        runner.step();
    }
    assert!(runner.schedule.runs(Position::first(BACKLOG + 1)));
    // The backlog is not forgotten.
    assert_eq!(runner.status().lag(), BACKLOG + 1);
    while runner.schedule.len() < 5 {
        runner.step();
    }
    assert!(runner.schedule.contains(Position::first(1)));
}

/// An event that is to be replayed after its attempt counts once.
#[tokio::test]
async fn a_running_event_with_a_replay_counts_once() {
    let mut world = World::new(HandlerOptions::default(), |_| Then::Hang);
    let (runner, controls) = world.runner().await;
    let _life = Life::of(runner);
    world.append(EventKind::Message).await;
    assert_eq!(world.begun().await, (1, 1));
    replay(&world, &controls, &[1]).await.unwrap().unwrap();
    let status = controls.status().await.unwrap();
    assert_eq!((status.lag(), status.overflowed), (1, 0));
}

/// A replay passes older events of its conversation: a bookmark would not see them.
#[tokio::test]
async fn no_bookmark_is_placed_while_a_replay_hands_over() {
    for replays in [false, true] {
        let mut world = World::new(HandlerOptions::default(), |_| Then::Hang);
        let (mut runner, _controls) = world.runner().await;
        for _ in 0..6 {
            world.append(EventKind::Message).await;
        }
        runner.step();
        if replays {
            runner.state.replaying.insert(Position::first(6));
        }
        runner.place_bookmark();
        assert_eq!(runner.state.bookmark.is_none(), replays);
    }
}

/// An attempt that runs goes on and is the last one; what waits behind it is skipped, and counted.
#[tokio::test]
async fn deleted_events_are_not_attempted() {
    let mut world = World::new(HandlerOptions::default(), |_| Then::FailLater);
    let (runner, controls) = world.runner().await;
    let _life = Life::of(runner);
    for number in 1..=4 {
        world.append_parts(&[("s", number)]).await;
    }
    assert_eq!(world.begun().await, (1, 1));
    delete(&world, &controls, &[1, 2, 3]).await;
    let status = controls.status().await.unwrap();
    assert_eq!((status.lag(), status.in_flight), (1, 1));
    assert_eq!(world.consumer.metrics.deleted.get(), 2);
    world.fail_now().await;
    assert_eq!(world.begun().await, (4, 1));
    world.fail_now().await;
    world.clock.advance(Duration::from_secs(2));
    assert_eq!(world.begun().await, (4, 2));
    assert_eq!(controls.status().await.unwrap().retrying, 1);
}

/// A retry that was waiting is forgotten, with the command or by reading on after a restart.
#[tokio::test]
async fn a_retry_of_a_deleted_event_is_forgotten() {
    for restarts in [false, true] {
        let mut world = World::new(HandlerOptions::default(), |_| Then::Fail);
        let (runner, controls) = world.runner().await;
        let mut life = Life::of(runner);
        for number in 1..=3 {
            world.append_parts(&[("s", number)]).await;
        }
        assert_eq!(world.begun().await, (1, 1));
        world.nothing_begins().await;
        if restarts {
            life.stop().await;
            world.journal.delete(&[1, 2]).await.unwrap();
            let (runner, _controls) = world.runner().await;
            life = Life::of(runner);
        } else {
            delete(&world, &controls, &[1, 2]).await;
        }
        assert_eq!(world.begun().await, (3, 1));
        assert_eq!(world.consumer.metrics.deleted.get(), 2);
        world.clock.advance(Duration::from_secs(2));
        assert_eq!(world.begun().await, (3, 2));
        life.stop().await;
        assert_eq!(world.saved_floor().await, 2);
    }
}

/// A replay leaves out what was deleted, whether or not it has fetched it.
#[tokio::test]
async fn a_replay_leaves_out_deleted_events() {
    let mut world = World::new(HandlerOptions::default(), |_| Then::Succeed);
    let (runner, controls) = world.runner().await;
    let _life = Life::of(runner);
    for number in 1..=5 {
        world.append_parts(&[("s", number)]).await;
        assert_eq!(world.begun().await, (number, 1));
    }
    controls.pause(true).await.unwrap().unwrap();
    replay(&world, &controls, &[1, 2, 3, 4, 5])
        .await
        .unwrap()
        .unwrap();
    delete(&world, &controls, &[2, 5]).await;
    controls.pause(false).await.unwrap().unwrap();
    for number in [1, 3, 4] {
        assert_eq!(world.begun().await, (number, 1));
    }
    world.nothing_begins().await;
    assert!(!controls.replays().await[0].is_running());
    assert_eq!(controls.status().await.unwrap().lag(), 0);
    // They were settled, so they are not counted.
    assert_eq!(world.consumer.metrics.deleted.get(), 0);
}

/// Skipped events of others are saved after 5 s, or together with the next wanted event.
#[tokio::test]
async fn skipped_events_are_saved_late() {
    let options = HandlerOptions::default().events([EventKind::Message]);
    let mut world = World::new(options, |_| Then::Succeed);
    let (runner, _controls) = world.runner().await;
    let life = Life::of(runner);
    let seconds = Duration::from_secs;
    for _ in 0..1_000 {
        world.append(EventKind::Connection).await;
    }
    world.nothing_begins().await;
    world.clock.advance(seconds(4));
    world.nothing_begins().await;
    assert_eq!(world.saved_floor().await, 0);
    world.clock.advance(seconds(1));
    world.nothing_begins().await;
    assert_eq!(world.saved_floor().await, 1_000);

    // Together with a wanted event, both are saved soon.
    world.append(EventKind::Connection).await;
    world.append(EventKind::Message).await;
    assert_eq!(world.begun().await, (1_002, 1));
    world.nothing_begins().await;
    world.clock.advance(Duration::from_millis(100));
    world.nothing_begins().await;
    assert_eq!(world.saved_floor().await, 1_002);

    // After a kill the runner skips them again; a stop saves that it has skipped them.
    world.append(EventKind::Connection).await;
    world.nothing_begins().await;
    life.kill().await;
    assert_eq!(world.saved_floor().await, 1_002);
    let (runner, _controls) = world.runner().await;
    let life = Life::of(runner);
    world.nothing_begins().await;
    life.stop().await;
    assert_eq!(world.saved_floor().await, 1_003);
}

/// All statuses of a backlog are known before the first is delivered.
#[tokio::test]
async fn a_backlog_of_statuses_is_read_first() {
    let options = HandlerOptions::default().monotonic_status(true);
    let mut world = World::new(options, |_| Then::Succeed);
    world.tuning = DispatchTuning::default();
    let (runner, _controls) = world.runner().await;
    for status in ["sent", "read"] {
        for number in 1..=100 {
            let body =
                format!(r#"{{"event":"status","messageId":"{number}","status":"{status}"}}"#);
            world.append_body(body).await;
        }
    }
    let _life = Life::of(runner);
    for number in 1..=100 {
        assert_eq!(world.begun().await, (number, 1));
    }
    world.nothing_begins().await;
}

#[tokio::test]
async fn immediate_handlers_leave_room_for_commands() {
    let mut world = World::new(HandlerOptions::default(), |_| Then::Succeed);
    world.tuning = DispatchTuning::default();
    let (runner, controls) = world.runner().await;
    for _ in 0..1_000 {
        world.append(EventKind::Message).await;
    }
    let _life = Life::of(runner);
    // The runner answers a question while it is busy.
    let status = controls.status().await.unwrap();
    assert!(status.floor < 500, "{}", status.floor);
    for seq in 1..=1_000 {
        assert_eq!(world.begun().await, (seq, 1));
    }
    world.nothing_begins().await;
}

/// No event is lost meanwhile.
#[tokio::test]
async fn a_failing_consumer_is_suspended_until_resumed() {
    let mut options = HandlerOptions::default().order(Order::None).retry(Retry {
        jitter: 0.0,
        ..Retry::default()
    });
    options.suspend_after = Some(Duration::from_secs(7));
    let mut world = World::new(options, |attempt| match attempt {
        1..=5 => Then::Fail,
        _ => Then::Succeed,
    });
    let (runner, controls) = world.runner().await;
    let life = Life::of(runner);
    world.append(EventKind::Message).await;
    // It fails at 0 s, 1 s, 3 s and 7 s.
    for (attempt, wait) in [(1, 0), (2, 1), (3, 2), (4, 4)] {
        assert_eq!(controls.status().await.unwrap().suspended, None);
        world.clock.advance(Duration::from_secs(wait));
        assert_eq!(world.begun().await, (1, attempt));
    }
    world.nothing_begins().await;
    let suspended = controls.status().await.unwrap().suspended.unwrap();
    assert_eq!(suspended.since, Timestamp::from_second(7).unwrap());
    assert_eq!(suspended.reason, "failed");
    world.append(EventKind::Message).await;
    world.clock.advance(Duration::from_secs(3600));
    world.nothing_begins().await;

    // The suspension outlives the process.
    life.kill().await;
    let (runner, controls) = world.runner().await;
    let life = Life::of(runner);
    world.nothing_begins().await;
    let status = controls.status().await.unwrap();
    assert_eq!(status.suspended, Some(suspended));
    assert_eq!(status.lag(), 2);
    controls.pause(false).await.unwrap().unwrap();
    let mut begun = [world.begun().await, world.begun().await];
    begun.sort_unstable();
    assert_eq!(begun, [(1, 5), (2, 1)]);
    world.nothing_begins().await;
    // After a resume the consumer gets the full time until suspension again.
    let status = controls.status().await.unwrap();
    assert_eq!(status.suspended, None);
    assert_eq!(status.failing_since, Some(world.clock.now()));
    life.stop().await;
    let saved = world.saved().await;
    assert_eq!(saved.head.suspended, None);
    assert_eq!(saved.retries.len(), 2);
}

/// A reload that starts a consumer again must not take away since when and why it fails.
#[tokio::test]
async fn a_new_runner_knows_since_when_and_why_it_fails() {
    let retry = Retry {
        first: Duration::from_secs(3600),
        ..Retry::default()
    };
    let options = HandlerOptions::default().retry(retry);
    let mut world = World::new(options, |_| Then::Fail);
    let (runner, controls) = world.runner().await;
    let life = Life::of(runner);
    world.append(EventKind::Message).await;
    assert_eq!(world.begun().await, (1, 1));
    let before = controls.status().await.unwrap();
    assert_eq!(before.failing_since, Some(world.clock.now()));
    world.clock.advance(Duration::from_secs(20));
    life.stop().await;
    let (runner, controls) = world.runner().await;
    let life = Life::of(runner);
    world.clock.advance(Duration::from_secs(5));
    let after = controls.status().await.unwrap();
    assert_eq!(after.failing_since, before.failing_since);
    assert_eq!(after.failing_reason.as_deref(), Some("failed"));
    life.stop().await;
}

#[tokio::test]
async fn a_clock_set_back_delays_no_retry() {
    let options = HandlerOptions::default().retry(Retry {
        jitter: 0.0,
        ..Retry::default()
    });
    let mut world = World::new(options, |attempt| match attempt {
        1..=3 => Then::Fail,
        _ => Then::Succeed,
    });
    let (right, wrong) = (1_700_000_000, 1_900_000_000);
    let second = |second| Timestamp::from_second(second).unwrap();
    world.clock.set(second(wrong));
    let (runner, _controls) = world.runner().await;
    let life = Life::of(runner);
    world.append(EventKind::Message).await;
    assert_eq!(world.begun().await, (1, 1));
    world.clock.set(second(right));
    world.nothing_begins().await;
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(world.begun().await, (1, 2));

    // The same when the process does not see the step: the journal holds times of another clock.
    world.clock.set(second(wrong));
    world.clock.advance(Duration::from_secs(2));
    assert_eq!(world.begun().await, (1, 3));
    life.stop().await;
    world.clock.set(second(right));
    let (runner, _controls) = world.runner().await;
    let _life = Life::of(runner);
    world.nothing_begins().await;
    world.clock.advance(Duration::from_secs(4));
    assert_eq!(world.begun().await, (1, 4));
}

#[tokio::test]
async fn an_overtaken_status_can_be_replayed() {
    let options = HandlerOptions::default().monotonic_status(true);
    let mut world = World::new(options, |_| Then::Succeed);
    let (runner, controls) = world.runner().await;
    let _life = Life::of(runner);
    for (seq, status) in [(1, "sent"), (2, "read")] {
        let body = format!(r#"{{"event":"status","messageId":"1","status":"{status}"}}"#);
        world.append_body(body).await;
        assert_eq!(world.begun().await, (1, 1), "{seq}");
    }
    let replayed = replay(&world, &controls, &[1]).await;
    replayed.unwrap().unwrap();
    assert_eq!(world.begun().await, (1, 1));
    world.nothing_begins().await;
}

/// With a restart before it, too.
#[tokio::test]
async fn a_replay_follows_an_attempt_that_fails() {
    for restarts in [false, true] {
        let mut world = World::new(HandlerOptions::default(), |_| Then::FailLater);
        let (runner, controls) = world.runner().await;
        let mut life = Life::of(runner);
        world.append(EventKind::Message).await;
        assert_eq!(world.begun().await, (1, 1));
        replay(&world, &controls, &[1]).await.unwrap().unwrap();
        controls.pause(restarts).await.unwrap().unwrap();
        world.fail_now().await;
        if restarts {
            let status = controls.status().await.unwrap();
            assert_eq!(
                (status.lag(), status.retrying, status.overflowed),
                (1, 0, 0)
            );
            life.stop().await;
            let (runner, controls) = world.runner().await;
            life = Life::of(runner);
            controls.pause(false).await.unwrap().unwrap();
        }
        assert_eq!(world.begun().await, (1, 1));
        assert_eq!(world.replays(), [false, true]);
        // The next attempt of the replay is one, too.
        world.fail_now().await;
        world.clock.advance(Duration::from_secs(2));
        assert_eq!(world.begun().await, (1, 2));
        assert_eq!(world.replays(), [false, true, true]);
        life.kill().await;
    }
}

/// A later status has overtaken the event while it was tried.
#[tokio::test]
async fn a_replay_after_a_failure_is_not_overtaken() {
    let options = HandlerOptions::default().monotonic_status(true);
    let mut world = World::new(options, |_| Then::FailLater);
    let (runner, controls) = world.runner().await;
    let _life = Life::of(runner);
    world.append_events(&[status(1, "sent")]).await;
    assert_eq!(world.begun().await, (1, 1));
    replay(&world, &controls, &[1]).await.unwrap().unwrap();
    world.append_events(&[status(1, "read")]).await;
    world.fail_now().await;
    assert!(world.replays().contains(&true), "{:?}", world.replays());
}

/// A subscriber gets the body once, although only one of its events is replayed; after a restart, too, when
/// others are read before it.
#[tokio::test]
async fn a_body_that_fails_is_replayed_as_a_whole() {
    for restarts in [false, true] {
        let mut world = World::new(HandlerOptions::default(), |_| Then::FailLater);
        world.takes_bodies.store(true, Ordering::Relaxed);
        (world.tuning.memory, world.tuning.read_in_a_turn) = (100 * 208, 1);
        world.fail_numbers(&[3]);
        let (runner, controls) = world.runner().await;
        let mut life = Life::of(runner);
        for number in 3..=22 {
            world.append_parts(&[("c", number)]).await;
        }
        world.append_parts(&[("a", 1), ("b", 2)]).await;
        assert_eq!([world.begun().await, world.begun().await], [(3, 1), (1, 1)]);
        let (id, request) = (Uuid::now_v7(), ReplayRequest::default());
        let second = vec![Position::new(21, 2)];
        let replayed = controls.replay(world.journal.as_ref(), id, &request, second);
        replayed.await.unwrap().unwrap();
        controls.pause(restarts).await.unwrap().unwrap();
        world.fail_now().await;
        if restarts {
            life.stop().await;
            let (mut runner, _controls) = world.runner().await;
            runner.state.head.paused = false;
            life = Life::of(runner);
        }
        assert_eq!(world.begun().await, (1, 1));
        assert_eq!(world.replays(), [false, false, true]);
        world.nothing_begins().await;
        life.kill().await;
    }
}

/// Events that wait for a retry, in memory and in the journal, and one whose attempt runs.
#[tokio::test]
async fn what_retention_removes_is_settled_immediately() {
    for paused in [false, true] {
        let mut world = World::new(HandlerOptions::default(), |_| Then::FailLater);
        world.fail_numbers(&[1, 2]);
        let (runner, controls) = world.runner().await;
        let life = Life::of(runner);
        // The third conversation has more events than fit into memory.
        for number in 1..=12 {
            let session = ["a", "b", "c"][usize::min(number as usize, 3) - 1];
            world.append_parts(&[(session, number)]).await;
        }
        let begun = [
            world.begun().await,
            world.begun().await,
            world.begun().await,
        ];
        assert_eq!(begun, [(1, 1), (2, 1), (3, 1)]);
        world.nothing_begins().await;
        controls.pause(paused).await.unwrap().unwrap();
        let status = controls.status().await.unwrap();
        assert_eq!((status.lag(), status.floor, status.retrying), (12, 0, 2));
        assert_eq!(controls.held_up(9).await.conversations.len(), 1);

        assert_eq!(world.journal.trim(10).await, Ok(10));
        let status = controls.status().await.unwrap();
        assert_eq!((status.lag(), status.floor, status.retrying), (2, 10, 0));
        assert!(controls.held_up(9).await.conversations.is_empty());
        // What runs is not tried again, and is no dead letter.
        world.fail_now().await;
        controls.pause(false).await.unwrap().unwrap();
        assert_eq!(world.begun().await, (11, 1));
        assert_eq!(controls.status().await.unwrap().in_memory, 2);
        world.clock.advance(Duration::from_secs(5));
        world.nothing_begins().await;
        let saved = world.saved().await;
        assert_eq!((saved.progress.floor(), saved.retries.len()), (10, 0));
        assert!(
            world
                .journal
                .dead_letters(None, None, 9)
                .await
                .unwrap()
                .is_empty()
        );
        life.kill().await;
    }
}

/// The attempt was dropped because it took too long.
#[tokio::test]
async fn a_panic_on_drop_ends_only_the_attempt() {
    let options = HandlerOptions::default()
        .order(Order::None)
        .timeout(Duration::from_millis(10));
    let mut world = World::new(options, |_| Then::PanicWhenDropped);
    let (runner, controls) = world.runner().await;
    let _life = Life::of(runner);
    world.append(EventKind::Message).await;
    assert_eq!(world.begun().await, (1, 1));
    let waits = async {
        while !controls.events().await[0]
            .retrying
            .contains(Position::first(1))
        {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let waits = tokio::time::timeout(Duration::from_secs(20), waits);
    waits.await.expect("in time");
}

#[tokio::test]
async fn a_stop_saves_while_an_attempt_hangs() {
    let options = HandlerOptions::default().order(Order::None);
    let mut world = World::new(options, |_| Then::Hang);
    let (runner, _controls) = world.runner().await;
    let life = Life::of(runner);
    world.append(EventKind::Message).await;
    assert_eq!(world.begun().await, (1, 1));
    world.append(EventKind::Connection).await;
    world.nothing_begins().await;
    life.ending.send_replace(Ending::Finish);
    world.nothing_begins().await;
    world.clock.advance(Duration::from_millis(100));
    world.nothing_begins().await;
    let progress = world.saved().await.progress;
    assert!(progress.is_body_settled(2) && !progress.is_body_settled(1));
    life.kill().await;
}

/// As when the process stands still, and goes on when another instance has the share.
#[tokio::test]
async fn no_attempt_starts_or_goes_on_after_the_lease() {
    let mut world = World::new(HandlerOptions::default(), |_| Then::FailLater);
    let clock: Arc<dyn Clock> = world.clock.clone();
    let cluster: Arc<dyn Cluster> =
        Arc::new(FakeCluster::new(&Memory::new(clock.clone(), 1), &clock));
    let grant = Grant {
        share: 0,
        epoch: 1,
        is_ending: false,
        holder: Uuid::nil(),
    };
    let held = watch::Sender::new(BTreeMap::from([(0, grant)]));
    let (mut runner, _controls) = world.runner().await;
    runner.context.hold = Some(Hold::new(&cluster, &held.subscribe(), grant));
    runner.attempts = Attempts::of(Arc::clone(&world.consumer), &runner.context);
    world.append(EventKind::Message).await;
    runner.step();
    assert!(runner.schedule.runs(Position::first(1)));
    held.send_replace(BTreeMap::new());
    world.nothing_begins().await;
    runner.end();
    assert!(!runner.schedule.runs(Position::first(1)));
    // If it is held again, the event is not forgotten.
    for _ in 0..2 {
        held.send_replace(BTreeMap::from([(0, grant)]));
        runner.step();
        assert_eq!(world.begun().await, (1, 1));
        held.send_replace(BTreeMap::new());
        world.fail_now().await;
        world.nothing_begins().await;
        runner.end();
        assert!(!runner.schedule.runs(Position::first(1)));
    }
}

/// The three are read together, and one task makes the first two attempts.
#[tokio::test]
async fn an_attempt_that_hangs_does_not_hide_one_that_has_ended() {
    let made = AtomicU32::new(0);
    let then = move |_| match made.fetch_add(1, Ordering::Relaxed) {
        1 => Then::Hang,
        _ => Then::Succeed,
    };
    let mut world = World::new(HandlerOptions::default(), then);
    let (runner, _controls) = world.runner().await;
    for (number, from) in [(1, "a"), (2, "b"), (3, "a")] {
        let body = format!(r#"{{"event":"message","messageId":"{number}","from":"{from}"}}"#);
        world.append_body(body).await;
    }
    let life = Life::of(runner);
    assert_eq!(world.begun().await, (1, 1));
    assert_eq!(world.begun().await, (2, 1));
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(world.begun.try_recv().ok(), Some((3, 1)));
    life.kill().await;
}

#[tokio::test]
async fn what_cannot_be_saved_is_not_promised() {
    let mut world = World::new(HandlerOptions::default(), |_| Then::Succeed);
    let folder = TestFolder::new();
    let clock = world.clock.clone();
    let journal = Sqlite::open(folder.path(), JournalMetrics::unrecorded(), clock).unwrap();
    world.journal = Arc::new(journal);
    let (runner, controls) = world.runner().await;
    let _life = Life::of(runner);
    controls.pause(true).await.unwrap().unwrap();
    world.append(EventKind::Message).await;
    world.journal.close().await;
    assert!(controls.pause(false).await.unwrap().is_err());
    let replayed = replay(&world, &controls, &[1]).await;
    assert!(replayed.unwrap().is_err());
}

/// Each event of a body is delivered separately: in its lane, with its own attempts and dead letter.
#[tokio::test]
async fn each_part_is_handed_over_by_itself() {
    let options = HandlerOptions::default().retry(Retry {
        attempts: 2,
        ..Retry::default()
    });
    let mut world = World::new(options, |_| Then::Succeed);
    world.fail_numbers(&[2]);
    let (runner, _controls) = world.runner().await;
    let _life = Life::of(runner);
    world.append_parts(&[("a", 1), ("b", 2), ("c", 3)]).await;
    let mut begun = vec![
        world.begun().await,
        world.begun().await,
        world.begun().await,
    ];
    begun.sort_unstable();
    assert_eq!(begun, [(1, 1), (2, 1), (3, 1)]);
    world.nothing_begins().await;
    world.clock.advance(Duration::from_millis(100));
    world.nothing_begins().await;
    let progress = world.saved().await.progress;
    let settled = [1, 2, 3].map(|part| progress.is_settled(Position::new(1, part)));
    assert_eq!(settled, [true, false, true]);
    assert_eq!(progress.floor(), 0);
    world.clock.advance(Duration::from_secs(2));
    assert_eq!(world.begun().await, (2, 2));
    world.nothing_begins().await;
    world.clock.advance(Duration::from_millis(100));
    world.nothing_begins().await;
    assert_eq!(world.saved().await.progress.floor(), 1);
    let dead = world.journal.dead_letters(None, None, 9).await.unwrap();
    let dead: Vec<_> = dead.iter().map(|(_, letter)| letter.position).collect();
    assert_eq!(dead, [Position::new(1, 2)]);
}

/// A status that comes late settles itself, and not the other event of its body.
#[tokio::test]
async fn a_late_status_settles_only_itself() {
    let options = HandlerOptions::default().monotonic_status(true);
    let mut world = World::new(options, |_| Then::Succeed);
    let (runner, _controls) = world.runner().await;
    let _life = Life::of(runner);
    world.append_events(&[status(1, "read")]).await;
    assert_eq!(world.begun().await, (1, 1));
    let both = [status(1, "delivered"), status(2, "read")];
    world.append_events(&both).await;
    assert_eq!(world.begun().await, (2, 1));
    world.nothing_begins().await;
}

fn status(number: Seq, status: &str) -> Event {
    let body = format!(r#"{{"event":"status","messageId":"{number}","status":"{status}"}}"#);
    Codeskytz.events(&body.into()).remove(0)
}

/// A part of an unwanted session, or a duplicate, is not delivered; the other parts are, also after a
/// restart in between.
#[tokio::test]
async fn unwanted_and_duplicate_parts_are_left_out() {
    let options = HandlerOptions::default().sessions(["a", "c"]);
    let mut world = World::new(options, |_| Then::Succeed);
    let (runner, _controls) = world.runner().await;
    let life = Life::of(runner);
    world.append_parts(&[("a", 1), ("b", 2), ("c", 3)]).await;
    let mut begun = vec![world.begun().await, world.begun().await];
    begun.sort_unstable();
    assert_eq!(begun, [(1, 1), (3, 1)]);
    life.stop().await;
    assert_eq!(world.saved().await.progress.floor(), 1);
    // The first and the third part are known already.
    let (runner, _controls) = world.runner().await;
    let _life = Life::of(runner);
    world.append_parts(&[("a", 1), ("a", 4), ("c", 3)]).await;
    assert_eq!(world.begun().await, (4, 1));
    world.nothing_begins().await;
}

/// A later holder of the share continues; the earlier one ends and writes nothing more to the journal.
#[tokio::test]
async fn a_fenced_runner_ends_and_saves_nothing() {
    let options = HandlerOptions::default().order(Order::None);
    let mut world = World::new(options, |_| Then::Hang);
    let (runner, _controls) = world.runner().await;
    let earlier = Life::of(runner);
    world.append(EventKind::Message).await;
    assert_eq!(world.begun().await, (1, 1));
    let (runner, _controls) = world.runner().await;
    let _later = Life::of(runner);
    assert_eq!(world.begun().await, (1, 1));
    // The earlier one learns of it when it saves next.
    world.append(EventKind::Connection).await;
    world.nothing_begins().await;
    world.clock.advance(Duration::from_secs(5));
    earlier.task.await.unwrap();
    let progress = world.saved().await.progress;
    assert!(progress.is_body_settled(2) && !progress.is_body_settled(1));
}

#[tokio::test]
async fn unreadable_progress_is_no_new_consumer() {
    let world = World::new(HandlerOptions::default(), |_| Then::Succeed);
    let desk = world.journal.desk(0).await.unwrap();
    let change = ProgressChange {
        consumer: NAME.to_owned(),
        head: vec![0],
        rows: Vec::new(),
        revived: Vec::new(),
        dead: Vec::new(),
    };
    desk.save(change).await.unwrap();
    let context = world.context().await;
    let runner = Runner::new(Arc::clone(&world.consumer), context, Arc::new(()));
    let error = runner.await.err().expect("it cannot be read");
    assert!(error.to_string().contains(NAME), "{error}");
}

/// The runner is not lost: it starts again later.
#[tokio::test]
async fn a_journal_that_panics_delays_a_restart() {
    let world = World::new(HandlerOptions::default(), |_| Then::Succeed);
    let (runner, _controls) = world.runner().await;
    let mut parts = runner.into_parts().await;
    let desk = std::mem::replace(&mut parts.context.desk, Arc::new(FaultyDesk));
    let (error, mut parts) = parts.resume().await.err().expect("it panics");
    assert!(matches!(error, Unavailable::Away(_)), "{error}");
    parts.context.desk = desk;
    assert!(parts.resume().await.is_ok());
}

#[derive(Debug)]
struct FaultyDesk;

#[async_trait]
impl Desk for FaultyDesk {
    fn share(&self) -> Share {
        0
    }

    async fn saved(&self, _: &str) -> Result<Option<SavedProgress>, Unavailable> {
        std::panic::resume_unwind(Box::new("on purpose"))
    }

    async fn save(&self, _: ProgressChange) -> Result<(), Unavailable> {
        Ok(())
    }
}

/// Steps that let a test go from one moment to the next.
impl Runner {
    /// Runs until nothing more happens without the test: everything that may start has started, nothing is
    /// on its way to or from the disk, and as many attempts as `held` says wait for the test.
    pub(crate) async fn settle_down(&mut self, held: impl Fn() -> usize) {
        loop {
            let more = self.step();
            self.end();
            if self.unsaved.is_saving() {
                let saved = self.unsaved.saved().await;
                self.saved(saved);
            } else if let Some(fetched) = self.fetches.next().await {
                self.fetched(fetched);
            } else if self.schedule.running() > held() {
                tokio::task::yield_now().await;
            } else if !more {
                return;
            }
        }
    }

    /// Carries out all commands.
    pub(crate) async fn obey_all(&mut self) {
        while let Ok(command) = self.commands.try_recv() {
            self.obey(command);
        }
        self.save_all().await;
    }
}

/// Asks for a replay of these bodies.
/// Deletes these bodies, as an administrator does.
async fn delete(world: &World, controls: &ConsumerControls, seqs: &[Seq]) {
    world.journal.delete(seqs).await.unwrap();
    controls.deleted(&seqs.into()).await;
}

async fn replay(
    world: &World,
    controls: &ConsumerControls,
    seqs: &[Seq],
) -> Option<Result<(), Unavailable>> {
    let events = seqs.iter().map(|seq| Position::first(*seq)).collect();
    let request = ReplayRequest::default();
    let journal = world.journal.as_ref();
    controls
        .replay(journal, Uuid::now_v7(), &request, events)
        .await
}

struct World {
    clock: Arc<FakeClock>,
    journal: Arc<dyn Journal>,
    /// The desk of the newest runner.
    desk: Mutex<Option<Arc<dyn Desk>>>,
    consumer: Arc<Consumer>,
    tuning: DispatchTuning,
    failing: Arc<Mutex<Vec<Seq>>>,
    /// Lets the attempts fail that wait for it.
    fail_now: Arc<Notify>,
    replays: Arc<Mutex<Vec<bool>>>,
    takes_bodies: Arc<AtomicBool>,
    begun: mpsc::UnboundedReceiver<(Seq, u32)>,
    appended: Seq,
}

/// What the handler does with an attempt.
#[derive(Debug, Clone, Copy)]
enum Then {
    Succeed,
    Fail,
    /// Fails when the test says so.
    FailLater,
    Hang,
    PanicWhenDropped,
}

struct PanicWhenDropped;

impl Drop for PanicWhenDropped {
    fn drop(&mut self) {
        std::panic::resume_unwind(Box::new("dropped"));
    }
}

impl World {
    fn new(options: HandlerOptions, then: impl Fn(u32) -> Then + Send + Sync + 'static) -> Self {
        let clock = Arc::new(FakeClock::new(Timestamp::UNIX_EPOCH));
        let (told, begun) = mpsc::unbounded_channel();
        let (failing, fail_now) = (Arc::default(), Arc::default());
        let (replays, takes_bodies) = (Arc::default(), Arc::default());
        let handler = Arc::new(Scripted {
            then,
            told,
            failing: Arc::clone(&failing),
            fail_now: Arc::clone(&fail_now),
            replays: Arc::clone(&replays),
            takes_bodies: Arc::clone(&takes_bodies),
        });
        let metrics = Metrics::new();
        metrics.stats().begin(clock.now(), clock.monotonic());
        let consumer = Consumer::new(NAME.to_owned(), handler, options, &metrics, clock.clone());
        Self {
            journal: Arc::new(Memory::new(clock.clone(), 1)),
            desk: Mutex::default(),
            consumer: Arc::new(consumer),
            tuning: SMALL,
            failing,
            fail_now,
            replays,
            takes_bodies,
            clock,
            begun,
            appended: 0,
        }
    }

    async fn runner(&self) -> (Runner, ConsumerControls) {
        let context = self.context().await;
        let runner = Runner::new(Arc::clone(&self.consumer), context, Arc::new(()));
        runner.await.unwrap()
    }

    async fn context(&self) -> RunnerContext {
        let desk = self.journal.desk(0).await.unwrap();
        *self.desk.lock().unwrap() = Some(Arc::clone(&desk));
        RunnerContext {
            hold: None,
            journal: Arc::clone(&self.journal),
            desk,
            decoder: Arc::new(Decoder::new(
                [Source::new("gateway").named_reader(1 << 20)],
                1 << 20,
            )),
            large: Arc::new(LargeBodies::new(1 << 20)),
            clock: self.clock.clone(),
            tuning: self.tuning,
        }
    }

    /// Makes the messages with these numbers fail, whatever the test's handler says.
    fn fail_numbers(&self, numbers: &[Seq]) {
        self.failing.lock().unwrap().extend(numbers);
    }

    /// Fails all attempts that wait for it, and waits until that is known.
    async fn fail_now(&self) {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        self.fail_now.notify_waiters();
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    }

    /// Of each attempt, whether it was a replay.
    fn replays(&self) -> Vec<bool> {
        self.replays.lock().unwrap().clone()
    }

    /// Appends a body that holds messages of these sessions with these numbers.
    async fn append_parts(&mut self, parts: &[(&str, Seq)]) {
        self.appended += 1;
        let mut received = Received::new("gateway", "a batch");
        received.id = Uuid::from_u128(u128::from(self.appended) << 64);
        received.session = Some(parts[0].0.to_owned());
        let event = |(session, number): &(&str, Seq)| {
            let body = format!(
                r#"{{"event":"message","sessionId":"{session}","from":"x","messageId":"{number}"}}"#
            );
            Codeskytz.events(&body.into()).remove(0)
        };
        let entry = Entry {
            received: Arc::new(received),
            events: parts.iter().map(event).collect::<Vec<_>>().into(),
            parts: parts
                .iter()
                .map(|(session, number)| EntryPart {
                    session: Some((*session).to_owned()),
                    key: DedupKey {
                        hash: u128::from(*number) << 64,
                        window: Duration::MAX,
                        state: None,
                        named: true,
                    },
                })
                .collect(),
        };
        self.journal.append(entry).await.unwrap();
    }

    /// Appends a body that holds these events.
    async fn append_events(&mut self, events: &[Event]) {
        self.appended += 1;
        let mut received = Received::new("gateway", "a batch");
        received.id = Uuid::from_u128(self.appended.into());
        let part = |number: u128| EntryPart {
            session: None,
            key: DedupKey {
                hash: u128::from(self.appended) << 64 | number,
                window: Duration::MAX,
                state: None,
                named: true,
            },
        };
        let entry = Entry {
            received: Arc::new(received),
            events: events.to_vec().into(),
            parts: (0..events.len() as u128).map(part).collect(),
        };
        self.journal.append(entry).await.unwrap();
    }

    async fn saved(&self) -> Saved {
        let desk = self
            .desk
            .lock()
            .unwrap()
            .clone()
            .expect("a runner was made");
        let saved = desk.saved(NAME).await.unwrap();
        Saved::decode(&saved.expect("it was saved")).unwrap()
    }

    async fn append(&mut self, kind: EventKind) {
        let (kind, number) = (kind.as_str(), self.appended + 1);
        self.append_body(format!(r#"{{"event":"{kind}","messageId":"{number}"}}"#))
            .await;
    }

    async fn append_body(&mut self, body: String) {
        self.appended += 1;
        let mut received = Received::new("gateway", body.clone());
        received.id = Uuid::from_u128(self.appended.into());
        let entry = Entry {
            received: Arc::new(received),
            events: Codeskytz.events(&body.into()).into(),
            parts: vec![EntryPart {
                session: None,
                key: DedupKey {
                    hash: self.appended.into(),
                    window: Duration::MAX,
                    state: None,
                    named: true,
                },
            }],
        };
        self.journal.append(entry).await.unwrap();
    }

    /// Waits for the next attempt: returns its event and its number.
    async fn begun(&mut self) -> (Seq, u32) {
        let next = tokio::time::timeout(Duration::from_secs(20), self.begun.recv());
        next.await.expect("in time").expect("the handler lives")
    }

    async fn saved_floor(&self) -> Seq {
        self.saved().await.progress.floor()
    }

    /// Everything runs on this thread, so nothing is left to do after this many turns.
    async fn nothing_begins(&mut self) {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert_eq!(self.begun.try_recv().ok(), None);
    }
}

/// A running runner.
struct Life {
    ending: watch::Sender<Ending>,
    task: JoinHandle<()>,
}

impl Life {
    fn of(mut runner: Runner) -> Self {
        let (ending, mut told) = watch::channel(Ending::GoOn);
        let task = tokio::spawn(async move { runner.run(&mut told).await });
        Self { ending, task }
    }

    /// Ends it as the end of the process would.
    async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
    }

    async fn stop(self) {
        self.ending.send_replace(Ending::Finish);
        self.task.await.unwrap();
    }
}

struct Scripted<F> {
    then: F,
    failing: Arc<Mutex<Vec<Seq>>>,
    fail_now: Arc<Notify>,
    replays: Arc<Mutex<Vec<bool>>>,
    takes_bodies: Arc<AtomicBool>,
    told: mpsc::UnboundedSender<(Seq, u32)>,
}

#[async_trait]
impl<F: Fn(u32) -> Then + Send + Sync + 'static> EventHandler for Scripted<F> {
    fn takes_bodies(&self) -> bool {
        self.takes_bodies.load(Ordering::Relaxed)
    }

    async fn handle(&self, event: &Event, delivery: &Delivery) -> Result<(), HandlerError> {
        let number = match event {
            Event::Message(message) => message.message_id.as_deref(),
            Event::Status(status) => status.message_id.as_deref(),
            _ => return Ok(()),
        };
        let seq = number.unwrap().parse().unwrap();
        self.replays.lock().unwrap().push(delivery.is_replay());
        let _ = self.told.send((seq, delivery.attempt()));
        if self.failing.lock().unwrap().contains(&seq) {
            return Err("failed".into());
        }
        match (self.then)(delivery.attempt()) {
            Then::Succeed => Ok(()),
            Then::Fail => Err("failed".into()),
            Then::FailLater => {
                self.fail_now.notified().await;
                Err("failed".into())
            }
            Then::Hang => std::future::pending().await,
            Then::PanicWhenDropped => {
                let _panics = PanicWhenDropped;
                std::future::pending().await
            }
        }
    }
}

const NAME: &str = "subscription:scripted";

/// Limits so low that small tests reach all of them.
pub(in crate::dispatch) const SMALL: DispatchTuning = DispatchTuning {
    memory: 16 * 208,
    lane: 4,
    read_in_a_turn: 4,
    next: 6,
    started_in_a_turn: 3,
    replayed_together: 3,
    bookmark_every: 2,
};

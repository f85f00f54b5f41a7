//! [`Load`]: conversations that go on whatever happens, and a subscriber that remembers what came.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix_web::rt;
use futures_util::future::try_join_all;
use offhook::clock::{Clock as _, SystemClock};
use offhook::testing::TestResponse;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::ledger::{Ledger, Outcome};
use super::verdict::{Arrival, Verdict};
use super::{client, message};
use crate::served::{message_ids, until};
use crate::subscriber::{Answer, Subscriber};
use crate::support::read_answer;

pub struct Load {
    /// Where instances listen; `None` for one that does not run.
    pub instances: RefCell<Vec<Option<SocketAddr>>>,
    pub ledger: RefCell<Ledger>,
    rng: RefCell<fastrand::Rng>,
    is_over: Cell<bool>,
}

impl Load {
    pub fn new(seed: u64, instances: usize) -> Self {
        Self {
            instances: RefCell::new(vec![None; instances]),
            ledger: RefCell::new(Ledger::new(CONVERSATIONS)),
            rng: RefCell::new(fastrand::Rng::with_seed(seed)),
            is_over: Cell::new(false),
        }
    }

    /// Sends until [`end`](Self::end). In a conversation a message follows when the one before was acknowledged, or
    /// given up. Each is a task of its own: in one task with what the test does meanwhile, tokio's budget of that task
    /// is spent on the load, and the test stands still on a busy machine.
    pub async fn run(self: &Rc<Self>) {
        let talks = (0..CONVERSATIONS).map(|conversation| {
            let load = Rc::clone(self);
            rt::spawn(async move { load.talk(conversation).await })
        });
        try_join_all(talks).await.unwrap();
    }

    pub fn end(&self) {
        self.is_over.set(true);
    }

    /// Waits until three more messages of every conversation are acknowledged.
    pub async fn goes_on(&self) {
        let before = self.ledger.borrow().of_conversation.clone();
        until("going on", async || {
            let ledger = self.ledger.borrow();
            let mut both = ledger.of_conversation.iter().zip(&before);
            both.all(|(now, before)| *now >= before + 3)
        })
        .await;
    }

    /// A random number below this.
    pub fn below(&self, bound: usize) -> usize {
        self.rng.borrow_mut().usize(..bound)
    }

    async fn talk(&self, conversation: usize) {
        for number in 0.. {
            let Some(instance) = self.insist(conversation, number).await else {
                if self.is_over.get() {
                    return;
                }
                continue;
            };
            if self.below(REPEATS) == 0 {
                let count = self.instances.borrow().len();
                // Another one, where there is another one.
                let other = instance + 1 + self.below(count.max(2) - 1);
                self.send(other % count, conversation, number).await;
            }
            if self.is_over.get() {
                return;
            }
            sleep(PAUSE).await;
        }
    }

    /// Sends a message until it is acknowledged, and returns the instance that did so; `None` if it was given up.
    async fn insist(&self, conversation: usize, number: usize) -> Option<usize> {
        loop {
            let count = self.instances.borrow().len();
            let instance = self.below(count);
            if self.send(instance, conversation, number).await != Outcome::Unknown {
                return Some(instance);
            }
            if self.is_over.get() || self.below(GIVEN_UP) == 0 {
                return None;
            }
            sleep(PAUSE).await;
        }
    }

    async fn send(&self, instance: usize, conversation: usize, number: usize) -> Outcome {
        let address = self.instances.borrow()[instance];
        let exchange = exchange(address, conversation, number);
        let answer = timeout(PATIENCE, exchange).await.ok().flatten();
        let mut ledger = self.ledger.borrow_mut();
        ledger.note(conversation, number, answer.as_ref())
    }

    /// Waits until everything that is kept was handled, or nothing more comes, and compares.
    pub async fn verdict(&self, url: &str, schema: &str, arrivals: &Arrivals) -> Verdict {
        let mut changed = SystemClock.monotonic();
        let mut count = 0;
        loop {
            let kept = kept(url, schema).await;
            let arrived = arrivals.all();
            let verdict = Verdict::of(&self.ledger.borrow(), &kept, &arrived);
            if arrived.len() != count {
                (count, changed) = (arrived.len(), SystemClock.monotonic());
            }
            let idle = SystemClock.monotonic() - changed;
            if verdict.unhandled.is_empty() && idle >= QUIET || idle >= HANG {
                return verdict;
            }
            sleep(Duration::from_millis(200)).await;
        }
    }
}

async fn exchange(
    to: Option<SocketAddr>,
    conversation: usize,
    number: usize,
) -> Option<TestResponse> {
    let mut stream = TcpStream::connect(to?).await.ok()?;
    let request = message(conversation, number).bytes();
    stream.write_all(&request).await.ok()?;
    read_answer(&mut stream).await.ok()
}

/// The message ids in the log, in their order.
async fn kept(url: &str, schema: &str) -> Vec<String> {
    let client = client(url).await.unwrap();
    let sql = format!("SELECT bodies, sums FROM {schema}.block ORDER BY last");
    let blocks = client.query(&sql, &[]).await.unwrap();
    let ids = blocks
        .iter()
        .flat_map(|block| message_ids(block.get(0), block.get(1)));
    ids.collect()
}

/// What came to a subscriber, in order of arrival.
#[derive(Clone, Default)]
pub struct Arrivals(Arc<Mutex<Vec<Arrival>>>);

impl Arrivals {
    /// A subscriber that takes everything.
    pub async fn subscriber(&self) -> Subscriber {
        let arrivals = Arc::clone(&self.0);
        Subscriber::deciding(move |asked| {
            arrivals.lock().unwrap().push(Arrival {
                message: asked.message_id(),
                event: asked.header("webhook-id").to_owned(),
            });
            Answer::from(200)
        })
        .await
    }

    pub fn all(&self) -> Vec<Arrival> {
        self.0.lock().unwrap().clone()
    }
}

const CONVERSATIONS: usize = 60;

/// One in so many messages is sent again to another instance after it was acknowledged.
const REPEATS: usize = 20;

/// One in so many messages without acknowledgement is not sent again.
const GIVEN_UP: usize = 20;

const PAUSE: Duration = Duration::from_millis(250);

/// Shorter than the time that an append may take, so that outcomes stay unknown.
const PATIENCE: Duration = Duration::from_secs(3);

/// When everything was handled, nothing more comes for so long.
const QUIET: Duration = Duration::from_secs(1);

/// Nothing comes any more.
const HANG: Duration = Duration::from_secs(60);

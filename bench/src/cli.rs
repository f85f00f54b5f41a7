//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, CommandFactory as _, Parser, Subcommand};
use rustix::process::{Resource, getrlimit, setrlimit};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::lab::{self, Lab};
use crate::load::To;
use crate::machine::Origin;
use crate::process::pin;
use crate::results::Kept;
use crate::runs::{self, Over, Plan};
use crate::servers::{self, ServeOptions};
use crate::targets::TARGETS;
use crate::{report, setup};

/// offhook side by side with what people use otherwise, and with what the machine can do at all.
///
/// Build it with --release; nothing else is a measurement. Nothing else should run meanwhile.
#[derive(Debug, Parser)]
#[command(name = "offhook-bench", max_term_width = 100)]
struct Cli {
    /// Shows the targets, and which cannot run here and why.
    #[arg(long)]
    list: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Everything, then the report.
    All {
        /// How far the curves go at most: 100000 leaves out a million events kept and more.
        #[arg(long, default_value_t = u64::MAX)]
        most: u64,
        #[command(flatten)]
        common: Common,
    },
    /// Requests as fast as they are answered.
    Receive {
        #[command(flatten)]
        common: Common,
    },
    /// Latency at a fixed rate.
    Open {
        /// Requests per second.
        #[arg(long, default_value_t = RATE)]
        rate: f64,
        #[command(flatten)]
        common: Common,
    },
    /// The same measurement while one thing grows.
    Curve {
        over: Over,
        /// How far it grows at most.
        #[arg(long, default_value_t = u64::MAX)]
        most: u64,
        #[command(flatten)]
        common: Common,
    },
    /// Deliveries to local subscribers.
    Relay {
        #[command(flatten)]
        common: Common,
    },
    /// What a server costs that has nothing to do.
    Idle {
        /// Subscriptions, each with a subscriber of its own.
        #[arg(long, default_value_t = 1_000)]
        subscriptions: usize,
        /// Events in the journal.
        #[arg(long, default_value_t = 10_000)]
        kept: u64,
        /// Conversations that they belong to.
        #[arg(long, default_value_t = 10_000)]
        lanes: u64,
        #[command(flatten)]
        common: Common,
    },
    /// What it costs that somebody watches: CPU time for each event with viewers and without, in turns.
    Watched {
        #[arg(long, default_value_t = 4)]
        viewers: usize,
        /// Requests per second.
        #[arg(long, default_value_t = RATE)]
        rate: f64,
        /// Viewers follow the stream, and ask for no pages.
        #[arg(long)]
        only_streams: bool,
        #[command(flatten)]
        common: Common,
    },
    /// What one session with failing events does to the others: how long theirs take with and without, in turns.
    Isolated {
        /// Events of the session that fails.
        #[arg(long, default_value_t = 1_000_000)]
        failing: u64,
        #[command(flatten)]
        common: Common,
    },
    /// How long each page of the dashboard and each part of its API takes.
    Pages {
        /// Events in the journal; the bounds are for 10000000.
        #[arg(long, default_value_t = 10_000)]
        kept: u64,
        /// How often each is asked for.
        #[arg(long, default_value_t = 100)]
        asks: usize,
        /// Has the system forget what it knows of the disk, before; for root.
        #[arg(long)]
        drop_caches: bool,
        #[command(flatten)]
        common: Common,
    },
    /// Requests to an offhook that runs already, whose source has the key of the gateway's documentation.
    Send {
        to: SocketAddr,
        /// Requests per second; otherwise as fast as they are answered.
        #[arg(long)]
        rate: Option<f64>,
        /// The server's certificate, if it speaks TLS.
        #[arg(long)]
        certificate: Option<PathBuf>,
        #[command(flatten)]
        common: Common,
    },
    /// Draws tables and charts again from the kept results.
    Report {
        #[command(flatten)]
        common: Common,
    },
    /// Installs what the targets of others need, pinned, into target/bench-peers; for root, Debian
    /// packages too.
    Setup,
    #[command(hide = true)]
    Serve(ServeOptions),
    #[command(hide = true)]
    RelayLoop(servers::LoopOptions),
}

#[derive(Debug, Clone, Args)]
struct Common {
    /// Only these targets, by name and separated by commas; the report then goes to
    /// target/bench-report unless --out says otherwise.
    #[arg(long, value_delimiter = ',')]
    only: Option<Vec<String>>,
    /// Rounds, beside a first one that warms up.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// How long a target is measured in each round, in seconds.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// The length of a body in bytes, 200 at least.
    #[arg(long, default_value_t = 300)]
    body: usize,
    /// Where results and report go; default: docs/benchmarks.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Where servers keep their data meanwhile; default: target. It decides which disk is measured.
    #[arg(long)]
    data: Option<PathBuf>,
    /// The core that servers run on.
    #[arg(long, default_value_t = 0)]
    server_core: usize,
    /// The core that databases run on; default: that of the servers. With the sender's, which needs little of it, a
    /// database does not compete with the program it serves, as on a machine of its own.
    #[arg(long)]
    database_core: Option<usize>,
    /// The core that sends.
    #[arg(long, default_value_t = 1)]
    load_core: usize,
}

/// Does what the command line says.
pub(crate) fn run() -> anyhow::Result<()> {
    let cli = Cli::parse();
    if cli.list {
        list();
        return Ok(());
    }
    match cli.command {
        None => Ok(Cli::command().print_help()?),
        Some(Command::Serve(options)) => servers::serve(&options),
        Some(Command::RelayLoop(options)) => servers::bare_loop(&options),
        Some(Command::Setup) => setup::setup(),
        Some(Command::Report { common }) => report::write(&common.out()),
        Some(command) => measure(command),
    }
}

fn list() {
    for target in TARGETS {
        let durable = if target.durable { "durable" } else { "" };
        println!("{:<13} {durable:<8} {}", target.name, target.what);
        if let Some(why) = target.missing() {
            println!("{:>13} cannot run here: {why}", "");
        }
    }
}

fn measure(command: Command) -> anyhow::Result<()> {
    match command {
        Command::All { most, common } => {
            let mut session = Session::new(common)?;
            let plan = &mut session.plan;
            plan.rounds_of_goals = plan.rounds.max(ROUNDS_OF_GOALS);
            session.receive(&session.often())?;
            session.open(RATE)?;
            session.open_under_load()?;
            session.relay(&session.often())?;
            session.idle(1_000, most.min(10_000), 10_000)?;
            session.isolated(&session.often(), most.min(1_000_000))?;
            for over in Over::ALL {
                session.curve(over, most)?;
            }
            session.idle(1_000, most.min(10_000_000), 10_000)?;
            session.report()
        }
        Command::Receive { common } => {
            Session::new(common)?.alone(|session| session.receive(&session.plan))
        }
        Command::Open { rate, common } => Session::new(common)?.alone(|session| session.open(rate)),
        Command::Curve { over, most, common } => {
            Session::new(common)?.alone(|session| session.curve(over, most))
        }
        Command::Relay { common } => {
            Session::new(common)?.alone(|session| session.relay(&session.plan))
        }
        Command::Idle {
            subscriptions,
            kept,
            lanes,
            common,
        } => Session::new(common)?.alone(|session| session.idle(subscriptions, kept, lanes)),
        Command::Watched {
            viewers,
            rate,
            only_streams,
            common,
        } => Session::new(common)?.alone(|session| session.watched(viewers, rate, only_streams)),
        Command::Isolated { failing, common } => {
            Session::new(common)?.alone(|session| session.isolated(&session.plan, failing))
        }
        Command::Pages {
            kept,
            asks,
            drop_caches,
            common,
        } => Session::new(common)?.alone(|session| session.pages(kept, asks, drop_caches)),
        Command::Send {
            to,
            rate,
            certificate,
            common,
        } => {
            let to = To::from(to);
            let to = match certificate {
                Some(file) => to.trusting(&file)?,
                None => to,
            };
            let session = Session::new(common)?;
            runs::send(&session.plan, &to, rate)
        }
        // They have been dealt with.
        _ => Ok(()),
    }
}

/// One run: where it works, how much it measures, where its results go.
struct Session {
    lab: Lab,
    plan: Plan,
    out: PathBuf,
    origin: Origin,
}

impl Session {
    fn new(common: Common) -> anyhow::Result<Self> {
        let lab = Lab::new(
            common.data.as_deref(),
            common.server_core,
            common.database_core.unwrap_or(common.server_core),
            common.load_core,
        )?;
        pin(common.load_core);
        raise_file_limit();
        if cfg!(debug_assertions) {
            eprintln!("This is not built with --release: what follows measures nothing.");
        }
        let out = common.out();
        let time = Duration::try_from_secs_f64(common.seconds).context("--seconds")?;
        let origin = Origin::of(&lab)?;
        Ok(Self {
            lab,
            plan: Plan {
                rounds: common.rounds.max(1),
                rounds_of_goals: common.rounds.max(1),
                time,
                connections: common.connections.max(1),
                body: common.body,
                only: common.only,
            },
            out,
            origin,
        })
    }

    fn alone(&self, run: impl FnOnce(&Self) -> anyhow::Result<()>) -> anyhow::Result<()> {
        run(self)?;
        self.report()
    }

    fn receive(&self, plan: &Plan) -> anyhow::Result<()> {
        self.keep("receive", runs::receive(&self.lab, plan)?)
    }

    /// With as many rounds as the goals ask for.
    fn often(&self) -> Plan {
        Plan {
            rounds: self.plan.rounds_of_goals,
            ..self.plan.clone()
        }
    }

    fn open(&self, rate: f64) -> anyhow::Result<()> {
        self.open_with(&self.plan, rate)
    }

    fn open_with(&self, plan: &Plan, rate: f64) -> anyhow::Result<()> {
        // As in `report::OPENS`.
        let name = match (rate as u64, plan.body) {
            (4_000, 300) => "open".to_owned(),
            (rate, body) => format!("open-{rate}-{body}"),
        };
        self.keep(&name, runs::open(&self.lab, plan, rate)?)
    }

    /// The latencies that the goals name beside the usual one: long enough for checkpoints and sealing
    /// to happen in it.
    fn open_under_load(&self) -> anyhow::Result<()> {
        let only = ["sqlite", "file"].map(str::to_owned).to_vec();
        let long = Plan {
            time: self.plan.time.max(Duration::from_secs(6)),
            only: Some(self.plan.only.clone().unwrap_or(only)),
            ..self.often()
        };
        self.open_with(&long, 20_000.0)?;
        let bodies = Plan {
            body: 4 << 10,
            ..long
        };
        self.open_with(&bodies, RATE)
    }

    fn curve(&self, over: Over, most: u64) -> anyhow::Result<()> {
        let name = format!("curve-{}", over.name());
        self.keep(&name, runs::curve(&self.lab, &self.plan, over, most)?)
    }

    fn relay(&self, plan: &Plan) -> anyhow::Result<()> {
        self.keep("relay", runs::relay(&self.lab, plan)?)
    }

    /// Small and large journals are kept apart.
    fn idle(&self, subscriptions: usize, kept: u64, lanes: u64) -> anyhow::Result<()> {
        let name = if kept > 1_000_000 {
            "idle-full"
        } else {
            "idle"
        };
        self.keep(
            name,
            runs::idle(&self.lab, &self.plan, subscriptions, kept, lanes)?,
        )
    }

    fn watched(&self, viewers: usize, rate: f64, only_streams: bool) -> anyhow::Result<()> {
        let name = if only_streams {
            "watched-streams"
        } else {
            "watched"
        };
        self.keep(
            name,
            runs::watched(&self.lab, &self.plan, viewers, rate, only_streams)?,
        )
    }

    fn isolated(&self, plan: &Plan, failing: u64) -> anyhow::Result<()> {
        self.keep("isolated", runs::isolated(&self.lab, plan, failing)?)
    }

    fn pages(&self, kept: u64, asks: usize, drop_caches: bool) -> anyhow::Result<()> {
        self.keep(
            "pages",
            runs::pages(&self.lab, &self.plan, kept, asks, drop_caches)?,
        )
    }

    fn keep<R: Serialize + DeserializeOwned>(&self, name: &str, results: R) -> anyhow::Result<()> {
        let origin = self.origin.clone();
        Kept { origin, results }.write(&self.out, name)
    }

    fn report(&self) -> anyhow::Result<()> {
        report::write(&self.out)
    }
}

impl Common {
    fn out(&self) -> PathBuf {
        let usual = match &self.only {
            None => "docs/benchmarks",
            Some(_) => "target/bench-report",
        };
        self.out.clone().unwrap_or_else(|| lab::root().join(usual))
    }
}

/// A thousand connections need more files than most systems give at first. Children inherit it.
fn raise_file_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        eprintln!("the limit of open files stays: {error}");
    }
}

/// A ratio that a goal names is the median of so many rounds at least.
const ROUNDS_OF_GOALS: usize = 10;

/// The rate of the open loop.
const RATE: f64 = 4_000.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
        let cli = Cli::try_parse_from([
            "offhook-bench",
            "receive",
            "--only",
            "none,bare",
            "--rounds",
            "2",
            "--seconds",
            "0.5",
        ]);
        let Some(Command::Receive { common }) = cli.unwrap().command else {
            panic!("another command");
        };
        assert_eq!(
            common.only.as_deref(),
            Some(&["none".to_owned(), "bare".to_owned()][..])
        );
        assert!(common.out().ends_with("target/bench-report"));
    }
}

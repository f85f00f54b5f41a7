//! What a server says of itself, and what that means for a journal. Nothing here needs a database.

use std::time::Duration;

use tokio_postgres::Row;

use super::options::PostgresOptions;
use crate::Timestamp;

/// How a database is in one respect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// As it must be.
    Good,
    /// It can be used, and somebody should look at it.
    Doubtful,
    /// It cannot be used.
    Unfit,
}

/// What was found about a database in one respect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observation {
    /// What was looked at, in a word or two.
    pub what: &'static str,
    /// How it is.
    pub verdict: Verdict,
    /// What was found, and what to do about it.
    pub told: String,
}

impl Observation {
    pub(super) fn new(what: &'static str, verdict: Verdict, told: impl Into<String>) -> Self {
        let told = told.into();
        Self {
            what,
            verdict,
            told,
        }
    }
}

/// What a server says of itself.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    version: i32,
    version_name: String,
    fsync: String,
    full_page_writes: String,
    synchronous_commit: String,
    standby_names: String,
    checksums: String,
    /// How far its clock is ahead of ours; less than 0 if it is behind.
    ahead_ms: i64,
    /// How many more connections it allows this user.
    free: i64,
    may_create: bool,
    /// Tables of the schema that this user does not own.
    foreign: i64,
    sees_standbys: bool,
    standbys: i64,
}

impl Facts {
    /// Takes the row of [`FACTS`]: asked for at `asked`, and answered after `took`.
    pub(super) fn of(row: &Row, asked: Timestamp, took: Duration) -> Self {
        let middle = asked.as_millisecond() + (took / 2).as_millis() as i64;
        Self {
            version: row.get(0),
            version_name: row.get(1),
            fsync: row.get(2),
            full_page_writes: row.get(3),
            synchronous_commit: row.get(4),
            standby_names: row.get(5),
            checksums: row.get(6),
            ahead_ms: row.get::<_, i64>(7) - middle,
            free: row.get(8),
            may_create: row.get(9),
            foreign: row.get(10),
            sees_standbys: row.get(11),
            standbys: row.get(12),
        }
    }
}

/// Says what the facts mean.
pub(super) fn judge(facts: &Facts, options: &PostgresOptions) -> Vec<Observation> {
    vec![
        version(facts),
        disk(facts),
        commits(facts),
        checksums(facts),
        privileges(facts, options),
        clock(facts),
        connections(facts),
        durability(facts, options),
    ]
}

fn version(facts: &Facts) -> Observation {
    let name = &facts.version_name;
    if facts.version < OLDEST_SERVER {
        let told = format!("PostgreSQL {name} is too old: version 14 or later is needed");
        return Observation::new("version", Verdict::Unfit, told);
    }
    Observation::new("version", Verdict::Good, format!("PostgreSQL {name}"))
}

fn disk(facts: &Facts) -> Observation {
    match unfit_disk(&facts.fsync, &facts.full_page_writes) {
        Some(told) => Observation::new("disk", Verdict::Unfit, told),
        None => Observation::new("disk", Verdict::Good, "fsync and full_page_writes are on"),
    }
}

fn unfit_disk(fsync: &str, full_page_writes: &str) -> Option<String> {
    let off = [("fsync", fsync), ("full_page_writes", full_page_writes)];
    let (name, setting) = off.into_iter().find(|(_, setting)| *setting != "on")?;
    Some(format!(
        "the server has {name} = {setting}: a power cut would lose what it has acknowledged, or all; set it to on"
    ))
}

fn commits(facts: &Facts) -> Observation {
    let setting = &facts.synchronous_commit;
    match unfit_commits(setting, &facts.standby_names) {
        Some(told) => Observation::new("commits", Verdict::Unfit, told),
        None => {
            let told = format!("synchronous_commit is {setting}");
            Observation::new("commits", Verdict::Good, told)
        }
    }
}

fn unfit_commits(synchronous_commit: &str, standby_names: &str) -> Option<String> {
    let is_unfit = match synchronous_commit {
        "off" => true,
        // It leaves the standbys out that somebody has set up.
        "local" => !standby_names.is_empty(),
        _ => false,
    };
    is_unfit.then(|| {
        format!(
            "synchronous_commit is {synchronous_commit} for this user: a commit would be answered before it is safe; \
             set it to on"
        )
    })
}

/// Returns why an acknowledged body could be lost, by the four settings in the columns from `at` on.
pub(super) fn unfit(row: &Row, at: usize) -> Option<String> {
    let [fsync, full_page_writes, synchronous_commit, standby_names] =
        [0, 1, 2, 3].map(|index| row.get::<_, &str>(at + index));
    unfit_disk(fsync, full_page_writes).or_else(|| unfit_commits(synchronous_commit, standby_names))
}

fn checksums(facts: &Facts) -> Observation {
    let setting = &facts.checksums;
    if setting == "on" {
        return Observation::new("checksums", Verdict::Good, "data_checksums are on");
    }
    let told = format!(
        "data_checksums are {setting}: the server does not notice a page that its disk has damaged; pg_checksums \
         --enable turns them on, while the server is stopped"
    );
    Observation::new("checksums", Verdict::Doubtful, told)
}

fn privileges(facts: &Facts, options: &PostgresOptions) -> Observation {
    let schema = &options.schema;
    let told = if !facts.may_create {
        format!(
            "the user may not create the tables of the schema {schema}: GRANT CREATE ON DATABASE … TO the user, or give \
             it a schema of that name that it owns"
        )
    } else if facts.foreign > 0 {
        format!(
            "{} tables of the schema {schema} belong to another user: use that user, or make this one a member of it",
            facts.foreign
        )
    } else {
        let told = format!("the user may use the schema {schema}");
        return Observation::new("privileges", Verdict::Good, told);
    };
    Observation::new("privileges", Verdict::Unfit, told)
}

fn clock(facts: &Facts) -> Observation {
    let off = Duration::from_millis(facts.ahead_ms.unsigned_abs());
    if off <= MAX_CLOCK {
        return Observation::new("clock", Verdict::Good, "within 5s of the server's");
    }
    let how = if facts.ahead_ms < 0 {
        "behind"
    } else {
        "ahead of"
    };
    let told = format!(
        "the server's clock is {} {how} the one of this machine: dedup windows and retention go by the server's, times \
         that are shown by this one; synchronise both",
        humantime::format_duration(Duration::from_secs(off.as_secs()))
    );
    Observation::new("clock", Verdict::Doubtful, told)
}

fn connections(facts: &Facts) -> Observation {
    let told = format!("{} more are allowed", facts.free.max(0));
    if facts.free >= CONNECTIONS {
        return Observation::new("connections", Verdict::Good, told);
    }
    let told = format!(
        "{told}, and each instance needs {CONNECTIONS}: raise max_connections, or the limit of the user or the database"
    );
    Observation::new("connections", Verdict::Doubtful, told)
}

fn durability(facts: &Facts, options: &PostgresOptions) -> Observation {
    let (verdict, told) = if !options.is_replicated {
        (
            Verdict::Good,
            "on disk on the primary; what a fail-over keeps is your database's promise".to_owned(),
        )
    } else if facts.standby_names.is_empty() {
        (
            Verdict::Unfit,
            "there is no synchronous standby: set synchronous_standby_names, or durability = \"primary\""
                .to_owned(),
        )
    } else if !facts.sees_standbys {
        (
            Verdict::Unfit,
            "the user may not see whether a standby is connected: GRANT pg_read_all_stats TO the user".to_owned(),
        )
    } else if facts.standbys == 0 {
        (
            Verdict::Unfit,
            "no synchronous standby is connected: start it, or set durability = \"primary\""
                .to_owned(),
        )
    } else if facts.synchronous_commit == "remote_write" {
        (
            Verdict::Doubtful,
            "a commit waits until a standby has it in memory; with synchronous_commit = on it waits until it is on that \
             standby's disk"
                .to_owned(),
        )
    } else {
        (
            Verdict::Good,
            format!("synchronous standbys: {}", facts.standbys),
        )
    };
    Observation::new("durability", verdict, told)
}

/// The settings that [`unfit`] judges. Of `synchronous_commit` what counts for a connection that has not set it: one that
/// only listens sets it.
pub(super) const SAFETY: &str = "current_setting('fsync'), current_setting('full_page_writes'), \
    (SELECT reset_val FROM pg_settings WHERE name = 'synchronous_commit'), current_setting('synchronous_standby_names')";

/// What is read of a server, for a schema.
pub(super) const FACTS: &str = "SELECT current_setting('server_version_num')::int, \
    current_setting('server_version'), current_setting('fsync'), current_setting('full_page_writes'), \
    current_setting('synchronous_commit'), current_setting('synchronous_standby_names'), \
    current_setting('data_checksums'), floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint, \
    least(current_setting('max_connections')::bigint - current_setting('superuser_reserved_connections')::bigint \
        - (SELECT sum(numbackends) FROM pg_stat_database), \
        (SELECT rolconnlimit - (SELECT count(*) FROM pg_stat_activity WHERE usename = current_user) \
         FROM pg_roles WHERE rolname = current_user AND rolconnlimit >= 0), \
        (SELECT d.datconnlimit - s.numbackends FROM pg_database d JOIN pg_stat_database s ON s.datid = d.oid \
         WHERE d.datname = current_database() AND d.datconnlimit >= 0))::bigint, \
    CASE WHEN to_regnamespace($1) IS NULL THEN has_database_privilege(current_database(), 'CREATE') \
        ELSE has_schema_privilege(to_regnamespace($1)::oid, 'CREATE') \
            AND has_schema_privilege(to_regnamespace($1)::oid, 'USAGE') END, \
    (SELECT count(*) FROM pg_class WHERE relnamespace = to_regnamespace($1) AND relkind IN ('r', 'p', 'S') \
        AND NOT pg_has_role(relowner, 'USAGE')), \
    pg_has_role(current_user, 'pg_read_all_stats', 'USAGE'), \
    (SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming' AND sync_state IN ('sync', 'quorum'))";

const OLDEST_SERVER: i32 = 140_000;
const MAX_CLOCK: Duration = Duration::from_secs(5);

/// How many connections an instance has, with the one that is there for moments.
const CONNECTIONS: i64 = 7;

#[cfg(test)]
mod tests {
    use super::*;

    type Change = fn(&mut Facts);

    fn good() -> Facts {
        Facts {
            version: 150_018,
            version_name: "15.18".to_owned(),
            fsync: "on".to_owned(),
            full_page_writes: "on".to_owned(),
            synchronous_commit: "on".to_owned(),
            standby_names: "*".to_owned(),
            checksums: "on".to_owned(),
            ahead_ms: -5000,
            free: 7,
            may_create: true,
            foreign: 0,
            sees_standbys: true,
            standbys: 1,
        }
    }

    /// What is not good of these facts.
    fn found(facts: &Facts, is_replicated: bool) -> Vec<(&'static str, Verdict)> {
        let options = PostgresOptions::new("postgresql://u@localhost/d").unwrap();
        let observations = judge(facts, &options.replicated(is_replicated));
        let doubted = observations
            .iter()
            .filter(|one| one.verdict != Verdict::Good);
        doubted.map(|one| (one.what, one.verdict)).collect()
    }

    #[test]
    fn each_fact_counts() {
        use Verdict::{Doubtful, Unfit};
        let table: [(&str, Verdict, Change); 13] = [
            ("version", Unfit, |facts| facts.version = 130_022),
            ("disk", Unfit, |facts| facts.fsync = "off".to_owned()),
            ("disk", Unfit, |facts| {
                facts.full_page_writes = "off".to_owned();
            }),
            ("commits", Unfit, |facts| {
                facts.synchronous_commit = "off".to_owned();
            }),
            ("commits", Unfit, |facts| {
                facts.synchronous_commit = "local".to_owned();
            }),
            ("checksums", Doubtful, |facts| {
                facts.checksums = "off".to_owned();
            }),
            ("privileges", Unfit, |facts| facts.may_create = false),
            ("privileges", Unfit, |facts| facts.foreign = 1),
            ("clock", Doubtful, |facts| facts.ahead_ms = 5001),
            ("connections", Doubtful, |facts| facts.free = 6),
            ("durability", Unfit, |facts| {
                facts.standby_names = String::new();
            }),
            ("durability", Unfit, |facts| facts.sees_standbys = false),
            ("durability", Doubtful, |facts| {
                facts.synchronous_commit = "remote_write".to_owned();
            }),
        ];
        assert_eq!(found(&good(), true), []);
        for (what, verdict, change) in table {
            let mut facts = good();
            change(&mut facts);
            assert_eq!(found(&facts, true), [(what, verdict)]);
        }
        let mut facts = good();
        facts.standbys = 0;
        assert_eq!(found(&facts, true), [("durability", Unfit)]);
        assert_eq!(found(&facts, false), []);
        // Without standbys nothing is left out.
        facts.standby_names = String::new();
        facts.synchronous_commit = "local".to_owned();
        assert_eq!(found(&facts, false), []);
    }
}

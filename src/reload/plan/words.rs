//! How a plan is told: in the log, in answers, and on the command line.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::{Change, How, Kind, NeedsRestart};

/// Such as `source "hub": secrets changed`.
impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, name, how } = self;
        match kind {
            Kind::Section => write!(f, "[{name}]")?,
            Kind::Subscription => write!(f, "subscription {name}")?,
            kind => write!(f, "{} {name:?}", kind.word())?,
        }
        match how {
            How::Added => f.write_str(": added"),
            How::Removed => f.write_str(": removed"),
            How::Changed(keys) => write!(f, ": {} changed", keys.join(", ")),
        }
    }
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::Section => "section",
            Self::Source => "source",
            Self::Handler => "handler",
            Self::Subscription => "subscription",
            Self::Gateway => "gateway",
        }
    }
}

/// What to do about it.
impl fmt::Display for NeedsRestart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { section, key, line } = self;
        write!(
            f,
            "{section}.{key} cannot change while the server runs: restart it, or "
        )?;
        match line {
            Some(line) => write!(f, "put the line `{line}` back below [{section}]"),
            None => write!(f, "take [{section}] out"),
        }
    }
}

impl NeedsRestart {
    /// Such as `server.bind`.
    pub(crate) fn key(&self) -> String {
        format!("{}.{}", self.section, self.key)
    }
}

/// One line for the log: how many things of each kind were added, removed and changed.
///
/// `1 source changed (secrets), 2 subscriptions added, [server] changed (max_body)`
pub(in crate::reload) fn summary(changes: &[Change]) -> String {
    let mut parts = Vec::new();
    let mut counted: BTreeMap<(Kind, &str), (usize, BTreeSet<&str>)> = BTreeMap::new();
    for change in changes {
        let (verb, keys) = match &change.how {
            How::Added => ("added", &[][..]),
            How::Removed => ("removed", &[][..]),
            How::Changed(keys) => ("changed", &keys[..]),
        };
        if change.kind == Kind::Section {
            parts.push(format!("[{}] {verb} ({})", change.name, keys.join(", ")));
            continue;
        }
        let (count, all) = counted.entry((change.kind, verb)).or_default();
        *count += 1;
        all.extend(keys);
    }
    let counted = counted.into_iter().map(|((kind, verb), (count, keys))| {
        let plural = if count == 1 { "" } else { "s" };
        let keys: Vec<&str> = keys.into_iter().collect();
        let keys = match keys.is_empty() {
            true => String::new(),
            false => format!(" ({})", keys.join(", ")),
        };
        format!("{count} {}{plural} {verb}{keys}", kind.word())
    });
    let counted: Vec<String> = counted.chain(parts).collect();
    counted.join(", ")
}

//! [`Handled`] is what the handler received, read from its file. [`Figures`] compare it with what was
//! acknowledged, and show the result.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use super::super::output::{bad, good, title};
use super::load::{Ledger, MessageId};

/// What the handler has received so far.
#[derive(Debug)]
pub(super) struct Handled {
    file: BufReader<File>,
    /// The beginning of a line whose end is not in the file yet.
    line: Vec<u8>,
    /// Each message with the event id of each time that it was handed over.
    messages: HashMap<MessageId, Vec<Uuid>>,
    /// The newest place of each conversation.
    newest: HashMap<usize, usize>,
    /// How many messages first came after a later message of their conversation.
    out_of_order: usize,
    /// How many lines a kill cut short.
    torn: usize,
}

impl Handled {
    /// Opens the file at `path`; nothing is read yet.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self {
            file: BufReader::new(File::open(path)?),
            line: Vec::new(),
            messages: HashMap::new(),
            newest: HashMap::new(),
            out_of_order: 0,
            torn: 0,
        })
    }

    /// Reads what was added to the file. Returns whether there was a whole line.
    pub(super) fn read_on(&mut self) -> io::Result<bool> {
        let mut grown = false;
        loop {
            self.file.read_until(b'\n', &mut self.line)?;
            if !self.line.ends_with(b"\n") {
                return Ok(grown);
            }
            grown = true;
            match parse(&self.line) {
                Some((id, event)) => self.saw(id, event),
                None => self.torn += 1,
            }
            self.line.clear();
        }
    }

    fn saw(&mut self, id: MessageId, event: Uuid) {
        let (conversation, place) = id;
        let events = self.messages.entry(id).or_default();
        if events.is_empty() {
            let newest = self.newest.entry(conversation).or_insert(place);
            self.out_of_order += usize::from(place < *newest);
            *newest = place.max(*newest);
        }
        events.push(event);
    }

    /// How many acknowledged messages are missing.
    pub(super) fn missing(&self, ledger: &Ledger) -> usize {
        let is_missing = |id: &&MessageId| !self.messages.contains_key(*id);
        ledger.acknowledged.iter().filter(is_missing).count()
    }
}

fn parse(line: &[u8]) -> Option<(MessageId, Uuid)> {
    let line: Value = serde_json::from_slice(line).ok()?;
    let (conversation, place) = line["body"]["messageId"].as_str()?.split_once('-')?;
    let id = (conversation.parse().ok()?, place.parse().ok()?);
    Some((id, line["id"].as_str()?.parse().ok()?))
}

/// The result of a run.
#[derive(Debug, Default, Serialize)]
pub(super) struct Figures {
    /// Whether messages were acknowledged, and none of the errors counted below happened.
    pub(super) durable: bool,
    pub(super) version: &'static str,
    pub(super) engine: &'static str,
    #[serde(flatten)]
    pub(super) place: Place,
    pub(super) seed: u64,
    pub(super) kills: u32,
    pub(super) killed_while_starting: u32,
    pub(super) seconds: f64,
    /// Messages sent, each counted once.
    pub(super) sent: usize,
    /// Messages answered 200.
    pub(super) acknowledged: usize,
    /// Answers other than 200.
    pub(super) refused: usize,
    /// Messages that reached the handler, acknowledged or not.
    pub(super) handled: usize,
    /// Messages handed over more than once. This is allowed: delivery is at-least-once.
    pub(super) handed_over_more_than_once: usize,
    /// Lines of the handler's file that a kill cut short; they were written again later.
    pub(super) torn_lines: usize,
    /// Acknowledged, but never handled.
    pub(super) lost: usize,
    /// First handled after a later message of the same conversation.
    pub(super) out_of_order: usize,
    /// Sent again, and stored as a second event.
    pub(super) kept_twice: usize,
    /// Answered as a duplicate although never sent before.
    pub(super) false_acknowledgements: usize,
    /// The folder, if something is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) folder: Option<PathBuf>,
}

/// The place of a run.
#[derive(Debug, Default, Serialize)]
pub(super) struct Place {
    kernel: String,
    file_system: String,
    path: PathBuf,
}

impl Place {
    /// The place of a folder.
    pub(super) fn of(folder: &Path) -> Self {
        let system = rustix::system::uname();
        let (name, release) = (system.sysname(), system.release());
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let path = folder.parent().unwrap_or(folder);
        let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        Self {
            kernel: format!("{} {}", name.to_string_lossy(), release.to_string_lossy()),
            file_system: file_system(&mounts, &path).unwrap_or("unknown").to_owned(),
            path,
        }
    }
}

/// The type of the innermost mount that contains `path`. Of two mounts at one place, the later one
/// counts.
fn file_system<'a>(mounts: &'a str, path: &Path) -> Option<&'a str> {
    let mounts = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        Some((fields.next()?, fields.next()?))
    });
    let holding = mounts.filter(|(at, _)| path.starts_with(at));
    holding
        .max_by_key(|(at, _)| Path::new(at).components().count())
        .map(|(_, kind)| kind)
}

impl Figures {
    /// Compares what was acknowledged with what was handled.
    pub(super) fn compare(ledger: &Ledger, handled: &Handled) -> Self {
        let more_than_once = |events: &&Vec<Uuid>| events.len() > 1;
        let kept_twice = |events: &&Vec<Uuid>| events.iter().any(|event| *event != events[0]);
        let messages = handled.messages.values();
        let figures = Self {
            version: env!("CARGO_PKG_VERSION"),
            engine: "sqlite",
            sent: ledger.sent(),
            acknowledged: ledger.acknowledged.len(),
            refused: ledger.refused,
            handled: messages.len(),
            handed_over_more_than_once: messages.clone().filter(more_than_once).count(),
            torn_lines: handled.torn,
            lost: handled.missing(ledger),
            out_of_order: handled.out_of_order,
            kept_twice: messages.filter(kept_twice).count(),
            false_acknowledgements: ledger.false_acknowledgements,
            ..Self::default()
        };
        // Without acknowledgements a run shows nothing.
        let durable = figures.acknowledged > 0 && figures.wrong() == 0;
        Self { durable, ..figures }
    }

    fn wrong(&self) -> usize {
        self.lost + self.out_of_order + self.kept_twice + self.false_acknowledgements
    }

    pub(super) fn text(&self) -> String {
        let Self {
            version,
            engine,
            place,
            seed,
            seconds,
            kills,
            sent,
            acknowledged,
            refused,
            handled,
            handed_over_more_than_once,
            lost,
            out_of_order,
            kept_twice,
            false_acknowledgements,
            ..
        } = self;
        let starting = match self.killed_while_starting {
            0 => String::new(),
            some => format!(", {some} while starting"),
        };
        let title = title(&format!("offhook {version} verify-durability"));
        let (kernel, file_system) = (&place.kernel, &place.file_system);
        let (path, verdict) = (place.path.display(), self.verdict());
        format!(
            "{title}
engine          {engine}
system          {kernel}, {file_system} at {path}
seed            {seed}
took            {seconds:.1} s
killed          {kills} times with SIGKILL{starting}
sent            {sent} messages
acknowledged    {acknowledged}
refused         {refused}
handled         {handled}
more than once  {handed_over_more_than_once} (allowed: at least once)
lost            {lost}
out of order    {out_of_order}
kept twice      {kept_twice}
false answers   {false_acknowledgements}

{verdict}"
        )
    }

    fn verdict(&self) -> String {
        if self.durable {
            return format!(
                "{} every acknowledged message was handled, in order, over {} SIGKILLs",
                good("durable:"),
                self.kills
            );
        }
        let what = match self.acknowledged {
            0 => "nothing was acknowledged, so nothing is proven; try more --seconds".to_owned(),
            _ => format!(
                "{} lost, {} out of order, {} kept twice, {} false answers",
                self.lost, self.out_of_order, self.kept_twice, self.false_acknowledgements
            ),
        };
        let folder = self.folder.as_deref().unwrap_or(Path::new(""));
        format!(
            "{} {what}\nWhat is left of it: {}",
            bad("NOT durable:"),
            folder.display()
        )
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;
    use std::io::Write as _;

    use super::*;

    #[test]
    fn what_is_counted() {
        let path = std::env::temp_dir().join(format!("offhook-handled-{}", std::process::id()));
        let mut file = File::create(&path).unwrap();
        let mut handled = Handled::open(&path).unwrap();
        assert!(!handled.read_on().unwrap());
        let line = |message: &str, event: u128| {
            let id = Uuid::from_u128(event);
            format!("{{\"id\":\"{id}\",\"body\":{{\"messageId\":\"{message}\"}}}}\n")
        };
        let mut text = String::new();
        for (message, event) in [("0-0", 1), ("0-2", 2), ("0-1", 3), ("0-2", 2), ("1-0", 4)] {
            text += &line(message, event);
        }
        let _ = write!(text, "{{\"id\":\n{}", line("1-0", 5));
        let whole = line("1-1", 6);
        let (begun, rest) = whole.split_at(10);
        text += begun;
        file.write_all(text.as_bytes()).unwrap();
        assert!(handled.read_on().unwrap());
        assert!(!handled.read_on().unwrap());
        file.write_all(rest.as_bytes()).unwrap();
        assert!(handled.read_on().unwrap());
        std::fs::remove_file(&path).unwrap();

        let mut ledger = Ledger::default();
        ledger.acknowledged.extend([(1, 0), (1, 1)]);
        let figures = Figures::compare(&ledger, &handled);
        assert_eq!((figures.handled, figures.torn_lines), (5, 1));
        assert_eq!(figures.handed_over_more_than_once, 2);
        assert_eq!((figures.kept_twice, figures.out_of_order), (1, 1));
        assert_eq!(figures.lost, 0);
        ledger.acknowledged.insert((1, 2));
        assert_eq!(handled.missing(&ledger), 1);
    }

    #[test]
    fn the_innermost_mount_counts() {
        let mounts = "/dev/a / ext4 rw 0 0\ntmpfs /tmp tmpfs rw 0 0\n/dev/b /tmp/x xfs rw 0 0\n\
                      /dev/c /tmp/x btrfs rw 0 0\n";
        let of = |path| file_system(mounts, Path::new(path));
        assert_eq!(of("/var/lib"), Some("ext4"));
        assert_eq!(of("/tmpfoo"), Some("ext4"));
        assert_eq!(of("/tmp/y"), Some("tmpfs"));
        assert_eq!(of("/tmp/x/y"), Some("btrfs"));
        assert_eq!(file_system("", Path::new("/")), None);
    }

    #[test]
    fn one_fault_is_enough() {
        let good = || Figures {
            acknowledged: 1,
            ..Figures::default()
        };
        assert_eq!(good().wrong(), 0);
        for wrong in [
            Figures { lost: 1, ..good() },
            Figures {
                out_of_order: 1,
                ..good()
            },
            Figures {
                kept_twice: 1,
                ..good()
            },
            Figures {
                false_acknowledgements: 1,
                ..good()
            },
        ] {
            assert_eq!(wrong.wrong(), 1);
            assert!(wrong.text().contains("NOT durable:"));
        }
    }
}

//! [`Figures::text`]: the figures for a reader.

use std::path::Path;

use anstyle::{AnsiColor, Style};

use crate::Figures;

impl Figures {
    /// The figures as a table for a terminal, with ANSI styles, and the verdict below it.
    pub fn text(&self) -> String {
        let (kernel, file_system) = (&self.place.kernel, &self.place.file_system);
        let system = format!("{kernel}, {file_system} at {}", self.place.path.display());
        let starting = match self.killed_while_starting {
            0 => String::new(),
            some => format!(", {some} while starting"),
        };
        let repeated = self.handed_over_more_than_once;
        let engine = match &self.cluster {
            None => self.engine.to_owned(),
            Some(cluster) => format!("{}, {} instances", self.engine, cluster.instances),
        };
        let killed = match &self.cluster {
            None => format!("{} times with SIGKILL{starting}", self.kills),
            Some(cluster) => format!(
                "{} times: an instance with SIGKILL, {} times all processes of the database",
                self.kills, cluster.database_kills
            ),
        };
        let handled = match &self.cluster {
            None => self.handled.to_string(),
            Some(cluster) => format!(
                "{}, at the latest {:.1} s after the answer",
                self.handled, cluster.longest_wait
            ),
        };
        let rows = [
            ("engine", engine),
            ("system", system),
            ("seed", self.seed.to_string()),
            ("took", format!("{:.1} s", self.seconds)),
            ("killed", killed),
            ("sent", format!("{} messages", self.sent)),
            ("acknowledged", self.acknowledged.to_string()),
            ("refused", self.refused.to_string()),
            ("handled", handled),
            (
                "more than once",
                format!("{repeated} (allowed: at least once)"),
            ),
            ("lost", self.lost.to_string()),
            ("out of order", self.out_of_order.to_string()),
            ("kept twice", self.kept_twice.to_string()),
            ("false answers", self.false_acknowledgements.to_string()),
        ];
        let rows = rows
            .map(|(name, value)| format!("{name:16}{value}\n"))
            .concat();
        let (version, verdict) = (self.version, self.verdict());
        format!("{TITLE}offhook {version} verify-durability{TITLE:#}\n{rows}\n{verdict}")
    }

    fn verdict(&self) -> String {
        if self.durable {
            return format!(
                "{GOOD}durable:{GOOD:#} every acknowledged message was handled, in order, \
                 over {} {}",
                self.kills,
                if self.cluster.is_some() {
                    "kills"
                } else {
                    "SIGKILLs"
                }
            );
        }
        let what = if self.acknowledged == 0 {
            "nothing was acknowledged, so nothing is proven; try more --seconds".to_owned()
        } else {
            format!(
                "{} lost, {} out of order, {} kept twice, {} false answers",
                self.lost, self.out_of_order, self.kept_twice, self.false_acknowledgements
            )
        };
        let folder = self.folder.as_deref().unwrap_or(Path::new(""));
        format!(
            "{BAD}NOT durable:{BAD:#} {what}\nWhat is left of it: {}",
            folder.display()
        )
    }
}

const TITLE: Style = Style::new().bold();
const GOOD: Style = AnsiColor::Green.on_default().bold();
const BAD: Style = AnsiColor::Red.on_default().bold();

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Place;

    #[test]
    fn the_text_is_a_table_and_a_verdict() {
        let figures = Figures {
            durable: true,
            version: "1.2.3",
            engine: "sqlite",
            place: Place {
                kernel: "Linux 6.1".into(),
                file_system: "ext4".into(),
                path: "/tmp".into(),
            },
            killed_while_starting: 1,
            kills: 3,
            acknowledged: 7,
            ..Figures::default()
        };
        assert_eq!(
            figures.text(),
            "\u{1b}[1moffhook 1.2.3 verify-durability\u{1b}[0m
engine          sqlite
system          Linux 6.1, ext4 at /tmp
seed            0
took            0.0 s
killed          3 times with SIGKILL, 1 while starting
sent            0 messages
acknowledged    7
refused         0
handled         0
more than once  0 (allowed: at least once)
lost            0
out of order    0
kept twice      0
false answers   0

\u{1b}[1m\u{1b}[32mdurable:\u{1b}[0m every acknowledged message was handled, in order, \
             over 3 SIGKILLs"
        );
    }
}

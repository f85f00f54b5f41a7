//! `[relay]`: what holds for every subscriber.

use super::read::Table;
use crate::relay::{Exception, RelaySettings};

pub(super) fn read(settings: &mut RelaySettings, table: &Table<'_>) {
    let options = &mut settings.options;
    if let Some(timeout) = table.duration("timeout") {
        options.timeout = timeout;
    }
    if let Some(on) = table.boolean("allow_private") {
        options.allow_private = on;
    }
    if let Some(texts) = table.strings("allow") {
        options.allow = read_allow(table, &texts);
    }
    if let Some(statuses) = table.integers("give_up_on", 300, 599) {
        if statuses.contains(&410) {
            let text = "has 410, which always ends the subscription";
            table.problem("give_up_on", text);
        }
        let statuses = statuses.into_iter();
        options.give_up_on = statuses
            .filter_map(|code| u16::try_from(code).ok())
            .collect();
    }
    if let Some(pause) = table.duration("suspend_after") {
        settings.suspend_after = pause;
    }
    table.finish();
}

fn read_allow(table: &Table<'_>, texts: &[String]) -> Vec<Exception> {
    let read = texts
        .iter()
        .filter_map(|text| match text.parse::<Exception>() {
            Ok(exception) => Some(exception),
            Err(error) => {
                table.problem("allow", error.to_string());
                None
            }
        });
    read.collect()
}

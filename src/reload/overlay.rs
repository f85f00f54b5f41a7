//! What a program has changed in code of the settings that it read from a file.
//!
//! The file's settings can be read again, the program's changes cannot. So they are found by comparison: where
//! the settings that run differ from what the file said, the program's value stays.

use crate::settings::{
    AdminSettings, JournalSettings, LogSettings, PostgresSettings, RefusedSettings, ServerSettings,
    Settings, SqliteSettings,
};

/// The value of the program if it has changed it, otherwise the file's new one.
fn kept<T: PartialEq + Clone>(file: &T, running: &T, now: T) -> T {
    if file == running {
        now
    } else {
        running.clone()
    }
}

/// Merges a struct field by field. Names every field of the type.
macro_rules! kept_fields {
    ($type:ident { $($field:ident),* $(,)? }, $file:expr, $running:expr, $now:expr) => {{
        let (file, running): (&$type, &$type) = ($file, $running);
        let $type { $($field),* } = $now;
        $(let $field = kept(&file.$field, &running.$field, $field);)*
        $type { $($field),* }
    }};
}

/// What is to run after a reload: `now`, which the file says, with what the program has changed. The file said
/// `file` when the settings `running` were made of it.
pub(super) fn with_changes(file: &Settings, running: &Settings, now: Settings) -> Settings {
    let Settings {
        server,
        admin,
        log,
        refused,
        sources,
        journal,
        dispatch,
        handlers,
        relay,
        subscriptions,
        gateways,
    } = now;
    Settings {
        server: kept_fields!(
            ServerSettings {
                bind,
                workers,
                max_body,
                max_in_flight,
                max_connections,
                request_timeout,
                keep_alive,
                min_body_rate,
                drain_delay,
                health_path,
                trusted_proxies,
                tls,
            },
            &file.server,
            &running.server,
            server
        ),
        admin: kept_admin(&file.admin, &running.admin, admin),
        log: kept_fields!(LogSettings { format, level }, &file.log, &running.log, log),
        refused: kept_fields!(
            RefusedSettings { keep, body, total },
            &file.refused,
            &running.refused,
            refused
        ),
        journal: kept_journal(&file.journal, &running.journal, journal),
        dispatch: kept(&file.dispatch, &running.dispatch, dispatch),
        relay: kept(&file.relay, &running.relay, relay),
        sources: kept_items(&file.sources, &running.sources, sources, |one| {
            one.name.clone()
        }),
        handlers: kept_items(&file.handlers, &running.handlers, handlers, |one| {
            one.name.clone()
        }),
        subscriptions: kept_items(
            &file.subscriptions,
            &running.subscriptions,
            subscriptions,
            |one| (one.session.clone(), one.name.clone()),
        ),
        gateways: kept_items(&file.gateways, &running.gateways, gateways, |one| {
            one.name.clone()
        }),
    }
}

fn kept_admin(
    file: &Option<AdminSettings>,
    running: &Option<AdminSettings>,
    now: Option<AdminSettings>,
) -> Option<AdminSettings> {
    match (file, running, now) {
        (Some(file), Some(running), Some(now)) => Some(kept_fields!(
            AdminSettings {
                bind,
                token,
                viewer_token,
                show_bodies,
                path_prefix,
                max_viewers,
                tls
            },
            file,
            running,
            now
        )),
        (file, running, now) => kept(file, running, now),
    }
}

fn kept_journal(
    file: &JournalSettings,
    running: &JournalSettings,
    now: JournalSettings,
) -> JournalSettings {
    match (file, running, now) {
        (
            JournalSettings::Sqlite(file),
            JournalSettings::Sqlite(running),
            JournalSettings::Sqlite(now),
        ) => JournalSettings::Sqlite(kept_fields!(
            SqliteSettings {
                path,
                retention,
                retention_size,
                dedup_window,
                dedup_window_unkeyed,
            },
            file,
            running,
            now
        )),
        (
            JournalSettings::Postgres(file),
            JournalSettings::Postgres(running),
            JournalSettings::Postgres(now),
        ) => JournalSettings::Postgres(Box::new(kept_postgres(file, running, *now))),
        (file, running, now) => kept(file, running, now),
    }
}

fn kept_postgres(
    file: &PostgresSettings,
    running: &PostgresSettings,
    now: PostgresSettings,
) -> PostgresSettings {
    kept_fields!(
        PostgresSettings {
            url,
            tls,
            schema,
            durability,
            shares,
            lease,
            append_timeout,
            instance,
            path,
            retention,
            retention_size,
            dedup_window,
            dedup_window_unkeyed,
        },
        file,
        running,
        now
    )
}

/// The items of the file, without those that the program has taken out, and with those that it has added or
/// changed.
fn kept_items<T: PartialEq + Clone, K: PartialEq>(
    file: &[T],
    running: &[T],
    mut now: Vec<T>,
    key: impl Fn(&T) -> K,
) -> Vec<T> {
    let is_among = |items: &[T], item: &T| items.iter().any(|one| key(one) == key(item));
    now.retain(|item| is_among(running, item) || !is_among(file, item));
    for own in running.iter().filter(|item| !file.contains(item)) {
        match now.iter_mut().find(|item| key(item) == key(own)) {
            // The program has changed an item of the file.
            Some(item) if is_among(file, own) => *item = own.clone(),
            // Otherwise the file has the name of an item of the program now, which the checks tell.
            _ => now.push(own.clone()),
        }
    }
    now
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Source;
    use crate::signature::Secret;

    const FILE: &str = "[server]\nmax_body = \"1 MiB\"\n[[sources]]\nname = \"a\"\nsecrets = [\"1\"]\n\
        [[sources]]\nname = \"b\"\npath = \"/b\"\nsecrets = [\"1\"]\n";

    fn file(old: &str, new: &str) -> Settings {
        Settings::of_text(&FILE.replace(old, new)).unwrap()
    }

    #[test]
    fn a_file_alone_is_taken_as_it_is() {
        let before = file("", "");
        let now = file("1 MiB", "2 MiB");
        assert_eq!(with_changes(&before, &before, now.clone()), now);
    }

    #[test]
    fn what_a_program_has_changed_stays() {
        let before = file("", "");
        let mut running = before.clone();
        let secret = Secret::new("own").unwrap();
        running.server.workers = 7;
        running.sources[1].secrets.push(secret.clone());
        running
            .sources
            .push(Source::new("own").path("/own").secret(secret));
        let now = file("\"1\"", "\"2\"");
        let now = Settings {
            server: file("1 MiB", "2 MiB").server,
            ..now
        };
        let merged = with_changes(&before, &running, now.clone());
        assert_eq!(
            (merged.server.workers, merged.server.max_body),
            (7, 2 << 20)
        );
        assert_eq!(merged.sources[0], now.sources[0]);
        assert_eq!(merged.sources[1..], running.sources[1..]);

        let mut without = before.clone();
        without.admin = None;
        without.sources.remove(1);
        let merged = with_changes(&before, &without, now.clone());
        assert_eq!(
            (merged.admin, merged.sources),
            (None, now.sources[..1].to_vec())
        );
    }
}

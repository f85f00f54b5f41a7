//! [`migrate`]: moves a journal from one engine to another.

use std::sync::Arc;

use crate::clock::{Clock, SystemClock};
use crate::dispatch::ProgressShapes;
use crate::journal::{MoveError, MoveStep, Moved, to_postgres, to_sqlite};
use crate::settings::JournalSettings;

/// Moves a journal from the engine `sqlite` to `postgres`, or back. No server may use either of them. The numbers and
/// ids of events stay, duplicates are recognised as before, and no consumer gets again what it has settled. The old
/// journal is not changed. The new one is found by its settings only when everything is there and was counted.
///
/// If the process is killed, the next call with the same settings goes on. `told` is told how far it is.
///
/// ```no_run
/// use offhook::settings::Settings;
///
/// # async fn migrate() -> Result<(), Box<dyn std::error::Error>> {
/// let (old, new) = (Settings::load("old.toml")?, Settings::load("new.toml")?);
/// let moved = offhook::migrate(&old.journal, &new.journal, &mut |step| println!("{step:?}")).await?;
/// println!("{} events", moved.counts.events);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// If one of the journals cannot be used like this, if something cannot be read or written, or if the new journal
/// does not hold what the old one holds.
pub async fn migrate(
    from: &JournalSettings,
    to: &JournalSettings,
    told: &mut dyn FnMut(MoveStep),
) -> Result<Moved, MoveError> {
    let refused = |error: &dyn std::fmt::Display| MoveError::Refused(error.to_string());
    let (clock, shapes): (Arc<dyn Clock>, _) = (Arc::new(SystemClock), ProgressShapes);
    match (from, to) {
        (JournalSettings::Sqlite(old), JournalSettings::Postgres(new)) => {
            let options = new.options().map_err(|error| refused(&error))?;
            to_postgres(&old.path, options, &clock, &shapes, told).await
        }
        (JournalSettings::Postgres(old), JournalSettings::Sqlite(new)) => {
            let options = old.options().map_err(|error| refused(&error))?;
            to_sqlite(options, &new.path, &clock, &shapes, told).await
        }
        _ => {
            let text = format!(
                "the old journal has the engine {}, and the new one {}: a journal is moved between sqlite and postgres; \
                 a variable OFFHOOK__JOURNAL__… in the environment counts for both",
                from.name(),
                to.name()
            );
            Err(MoveError::Refused(text))
        }
    }
}

//! [`Registrars`]: the tasks that register at the gateways of the settings.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::task::JoinHandle;

use super::startup::GatewaySettings;
use crate::Retry;

/// One task for each gateway. They end when this is dropped.
#[derive(Debug)]
pub(crate) struct Registrars(Mutex<Option<Vec<Registrar>>>);

#[derive(Debug)]
struct Registrar {
    settings: GatewaySettings,
    task: JoinHandle<()>,
}

impl Default for Registrars {
    fn default() -> Self {
        Self(Mutex::new(Some(Vec::new())))
    }
}

impl Registrars {
    /// Registers at these gateways from now on. Those that were among the last ones, with the same settings, are
    /// left alone; what is not among these is not tried any more. After [`Registrars::stop`] it does nothing.
    pub(crate) fn replace(&self, gateways: &[GatewaySettings]) {
        let mut registrars = self.lock();
        let Some(registrars) = registrars.as_mut() else {
            return;
        };
        registrars.retain(|registrar| gateways.contains(&registrar.settings));
        for settings in gateways {
            if !registrars.iter().any(|one| one.settings == *settings) {
                let settings = settings.clone();
                let task = tokio::spawn(settings.clone().register(Retry::default()));
                registrars.push(Registrar { settings, task });
            }
        }
    }

    /// Registers nowhere any more, whatever is asked later: the gateways must not send to a server that stops.
    pub(crate) fn stop(&self) {
        *self.lock() = None;
    }

    fn lock(&self) -> MutexGuard<'_, Option<Vec<Registrar>>> {
        // No panic can leave the list half-changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Registrar {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::{Gateway, Registration};

    fn gateway(name: &str, session: &str) -> GatewaySettings {
        let registration = Registration::new("http://127.0.0.1/webhook").unwrap();
        let gateway = Gateway::new("http://127.0.0.1:9").unwrap();
        let mut settings = GatewaySettings::new(gateway, [session], registration);
        settings.name = name.to_owned();
        settings
    }

    #[tokio::test]
    async fn unchanged_gateways_are_left_alone() {
        let registrars = Registrars::default();
        let tasks = || {
            let all = registrars.lock();
            let tasks = all
                .iter()
                .flatten()
                .map(|one| (one.settings.name.clone(), one.task.id()));
            tasks.collect::<std::collections::HashMap<_, _>>()
        };
        registrars.replace(&[gateway("a", "1"), gateway("b", "1"), gateway("c", "1")]);
        let before = tasks();
        registrars.replace(&[gateway("b", "1"), gateway("c", "2"), gateway("d", "1")]);
        let after = tasks();
        assert_eq!(after.len(), 3);
        assert_eq!(after["b"], before["b"]);
        assert_ne!(after["c"], before["c"]);
        assert!(!after.contains_key("a") && after.contains_key("d"));
        registrars.stop();
        assert!(tasks().is_empty());
        registrars.replace(&[gateway("a", "1")]);
        assert!(tasks().is_empty());
    }
}

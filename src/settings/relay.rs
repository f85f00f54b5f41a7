//! `[relay]` and `[[subscriptions]]`: which events are relayed, to which URLs, and how.

use super::handlers::events;
use super::kinds::{boolean, checked, duration, noted, secret, some, text, whole};
use super::spot::{Keys, Spot, keys};
use crate::EventKind;
use crate::relay::{RelayOptions, RelaySettings, SubscriptionSettings};
use crate::signature::is_undecodable;

impl Keys for RelaySettings {
    fn fill(&mut self, table: &Spot<'_>) {
        self.options.fill(table);
        let suspend_after = table.read("suspend_after", duration);
        self.suspend_after = suspend_after.unwrap_or(self.suspend_after);
    }
}

keys!(RelayOptions {
    timeout: duration,
    allow_private: boolean,
    allow: |spot: &Spot<'_>| {
        let example = "[\"10.1.2.0/24\", \"localhost\"]";
        spot.each(example, |item| noted(item, text(item)?.parse()))
    },
    give_up_on: |spot: &Spot<'_>| {
        let wrong = "is 410, which always ends the subscription";
        let status = checked(whole(300..=599), |status| *status != 410, wrong);
        Some(spot.each("[404, 422]", status)?.into_iter().collect())
    },
});

pub(super) fn subscription(table: &Spot<'_>) -> Option<SubscriptionSettings> {
    let mut settings = table.over(SubscriptionSettings::new("", ""));
    settings.options.events = table.read("events", events(&EventKind::RECEIVED)).flatten();
    settings.options.fill(table);
    Some(settings)
}

keys!(SubscriptionSettings {
    name: text => "the subscription's name in the API and in logs",
    session: text,
    webhook_url: text => "the URL that events are POSTed to",
    // Standard Webhooks must be able to sign with it.
    secret: some(checked(
        secret,
        |secret| !is_undecodable(secret),
        "begins with whsec_, but what follows is no base64",
    )),
});

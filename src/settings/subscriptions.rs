//! `[[subscriptions]]`: which events are relayed, and to which URLs.

use super::dispatch::{self, events};
use super::kinds::{secret, some, text};
use super::spot::{Keys as _, Spot, keys};
use crate::EventKind;
use crate::relay::SubscriptionSettings;
use crate::signature::{Secret, is_undecodable};

keys!(SubscriptionSettings {
    name: text => "the subscription's name in the API and in logs",
    session: text,
    webhook_url: text => "the URL that events are POSTed to",
    secret: some(signing_secret),
});

pub(super) fn subscription(spot: &Spot<'_>) -> Option<SubscriptionSettings> {
    spot.table(|table| {
        let mut settings = SubscriptionSettings::new("", "");
        settings.fill(table);
        let options = &mut settings.options;
        options.events = table.read("events", events(&EventKind::RECEIVED)).flatten();
        dispatch::fill(options, table);
        settings
    })
}

/// A secret that Standard Webhooks can sign with.
fn signing_secret(spot: &Spot<'_>) -> Option<Secret> {
    let secret = secret(spot)?;
    if is_undecodable(&secret) {
        spot.note("begins with whsec_, but what follows is no base64");
    }
    Some(secret)
}

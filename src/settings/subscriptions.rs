//! `[[subscriptions]]`: who gets which events relayed, and where.

use super::handlers::{read_dispatch_keys, read_events};
use super::read::Table;
use crate::EventKind;
use crate::dispatch::HandlerOptions;
use crate::relay::SubscriptionSettings;
use crate::signature::is_undecodable;

pub(super) fn read(table: &Table<'_>) -> Option<SubscriptionSettings> {
    let name = table.required("name", "the subscription's name in the API and in logs");
    let session = table.string("session").unwrap_or_else(|| "*".to_owned());
    let webhook_url = table.required("webhook_url", "the URL that events are POSTed to");
    let secret = table.secret("secret");
    if secret.as_ref().is_some_and(is_undecodable) {
        let text = "begins with whsec_, but what follows is no base64";
        table.problem("secret", text);
    }
    let options = HandlerOptions {
        events: read_events(table, &EventKind::RECEIVED),
        ..read_dispatch_keys(table, HandlerOptions::default())
    };
    table.finish();
    Some(SubscriptionSettings {
        name: name?,
        session,
        webhook_url: webhook_url?,
        secret,
        options,
    })
}

//! `[relay]` and `[[subscriptions]]`: which events are relayed, to which URLs, and how.

use super::handlers::events;
use config::ValueKind;

use super::kinds::{boolean, checked, duration, noted, one_of, secret, text, whole};
use super::spot::{Keys, Spot, keys};
use crate::EventKind;
use crate::relay::{
    MAX_SECRETS, RelayOptions, RelaySettings, SubscriptionHeaders, SubscriptionSettings, Trace,
};
use crate::signature::{Secret, Secrets, is_undecodable};

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
    trace: one_of(&[
        ("off", Trace::Off),
        ("sampled", Trace::Sampled),
        ("unsampled", Trace::Unsampled),
    ]),
});

pub(super) fn subscription(table: &Spot<'_>) -> Option<SubscriptionSettings> {
    let mut settings = table.over(SubscriptionSettings::new("", ""));
    settings.options.events = table.read("events", events(&EventKind::RECEIVED)).flatten();
    settings.options.fill(table);
    settings.secrets = secrets(table);
    settings.headers = table.read("headers", headers).unwrap_or_default();
    Some(settings)
}

/// One `secret`, or `secrets` while one replaces another.
fn secrets(table: &Spot<'_>) -> Secrets {
    let one = table.read("secret", signing_secret);
    let several = table.read("secrets", |spot| {
        let secrets = spot.each("[\"env:NEW\", \"env:OLD\"]", signing_secret)?;
        if !(1..=MAX_SECRETS).contains(&secrets.len()) {
            let found = secrets.len();
            spot.note(format!(
                "expected 1 to {MAX_SECRETS} secrets, found {found}"
            ));
        }
        Some(secrets)
    });
    if table.has("secret") && table.has("secrets") {
        let text =
            "is given beside secret; take out secret, and name all of them here, the newest first";
        table.at("secrets").note(text);
    }
    several.map_or_else(|| one.into(), Secrets::new)
}

/// Standard Webhooks must be able to sign with it.
fn signing_secret(spot: &Spot<'_>) -> Option<Secret> {
    let wrong = "begins with whsec_, but what follows is no base64";
    checked(secret, |secret| !is_undecodable(secret), wrong)(spot)
}

/// `headers = { Authorization = "Bearer env:TOKEN" }`
fn headers(spot: &Spot<'_>) -> Option<SubscriptionHeaders> {
    let ValueKind::Table(map) = spot.value else {
        return spot.wrong_kind("a table such as { Authorization = \"env:CRM_AUTH\" }");
    };
    let mut names: Vec<&String> = map.keys().collect();
    names.sort_unstable();
    let mut headers = SubscriptionHeaders::default();
    for name in names {
        if let Some(value) = text(&spot.at(name)) {
            headers = noted(spot, headers.clone().resolve(name, &value)).unwrap_or(headers);
        }
    }
    Some(headers)
}

keys!(SubscriptionSettings {
    name: text => "the subscription's name in the API and in logs",
    session: text,
    webhook_url: text => "the URL that events are POSTed to",
});

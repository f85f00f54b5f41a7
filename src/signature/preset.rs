//! The presets of `scheme = "hmac"`: the settings of senders that many people use, as data.

use super::generic::Generic;
use super::secret::{Algorithm, Encoding};

/// What a preset sets; what it does not is as [`Generic::new`] has it.
struct Preset {
    name: &'static str,
    header: &'static str,
    algorithm: Algorithm,
    encoding: Encoding,
    prefix: &'static str,
    template: Option<&'static str>,
    /// A header that, where it is there, must have this value.
    agrees: Option<(&'static str, &'static str)>,
    id_header: Option<&'static str>,
    id_pointer: Option<&'static str>,
    event_header: Option<&'static str>,
}

impl Generic {
    /// The names of all presets. Those of `meta` and `slack` are only their signatures; the schemes
    /// [`Meta`](super::Meta) and [`Slack`](super::Slack) add their answers.
    pub fn presets() -> impl Iterator<Item = &'static str> {
        PRESETS.iter().map(|preset| preset.name)
    }

    /// The settings of a sender by its name; `None` if no preset has it.
    ///
    /// ```
    /// use offhook::signature::{Generic, Scheme};
    ///
    /// let github = Generic::preset("github").unwrap();
    /// assert_eq!(github.claim_headers(), ["x-hub-signature-256"]);
    /// assert_eq!(Scheme::id_header(&github), Some("x-github-delivery"));
    /// ```
    pub fn preset(name: &str) -> Option<Self> {
        let preset = PRESETS.iter().find(|preset| preset.name == name)?;
        let mut scheme = Self::new(preset.header)
            .algorithm(preset.algorithm)
            .encoding(preset.encoding)
            .prefix(preset.prefix);
        if let Some(template) = preset.template {
            scheme = scheme.template(template).ok()?;
        }
        let lower = |name: Option<&str>| name.map(str::to_ascii_lowercase);
        scheme.id_header = lower(preset.id_header);
        scheme.id_pointer = preset.id_pointer.map(str::to_owned);
        scheme.event_header = lower(preset.event_header);
        scheme.name = preset.name;
        scheme.agrees = preset.agrees;
        Some(scheme)
    }
}

const fn hub(name: &'static str, header: &'static str) -> Preset {
    Preset {
        name,
        header,
        algorithm: Algorithm::Sha256,
        encoding: Encoding::Hex,
        prefix: "sha256=",
        template: None,
        agrees: None,
        id_header: None,
        id_pointer: None,
        event_header: None,
    }
}

const fn bare(name: &'static str, header: &'static str, encoding: Encoding) -> Preset {
    Preset {
        encoding,
        prefix: "",
        ..hub(name, header)
    }
}

const PRESETS: [Preset; 10] = [
    Preset {
        id_header: Some("X-GitHub-Delivery"),
        event_header: Some("X-GitHub-Event"),
        ..hub("github", "X-Hub-Signature-256")
    },
    hub("meta", "X-Hub-Signature-256"),
    hub("gowa", "X-Hub-Signature-256"),
    Preset {
        id_header: Some("X-OpenWA-Idempotency-Key"),
        event_header: Some("X-OpenWA-Event"),
        ..hub("openwa", "X-OpenWA-Signature")
    },
    Preset {
        algorithm: Algorithm::Sha512,
        agrees: Some(("x-webhook-hmac-algorithm", "sha512")),
        ..bare("waha", "X-Webhook-Hmac", Encoding::Hex)
    },
    bare("wuzapi", "x-hmac-signature", Encoding::Hex),
    Preset {
        // Of each event of the body.
        id_pointer: Some("/webhookEventId"),
        ..bare("line", "X-Line-Signature", Encoding::Base64)
    },
    bare("viber", "X-Viber-Content-Signature", Encoding::Hex),
    Preset {
        // Not X-Shopify-Event-Id: the webhooks that several subscriptions get of one event share it.
        id_header: Some("X-Shopify-Webhook-Id"),
        event_header: Some("X-Shopify-Topic"),
        ..bare("shopify", "X-Shopify-Hmac-Sha256", Encoding::Base64)
    },
    Preset {
        prefix: "v0=",
        template: Some("v0:{timestamp:X-Slack-Request-Timestamp}:{body}"),
        id_pointer: Some("/event_id"),
        ..hub("slack", "X-Slack-Signature")
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signature::Scheme as _;

    #[test]
    fn every_preset_can_be_made() {
        for name in Generic::presets() {
            let scheme = Generic::preset(name).unwrap();
            assert_eq!(scheme.name(), name);
        }
        assert!(Generic::preset("hmac").is_none());
    }
}

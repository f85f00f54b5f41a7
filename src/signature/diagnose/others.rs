//! [`foreign`]: whose signature a request carries, by the names of its headers alone.

/// The signature of a family of senders that another scheme verifies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Foreign {
    /// The header, as documentation writes it.
    pub(crate) header: &'static str,
    /// Who signs so.
    pub(crate) family: &'static str,
    /// The keys of a source for it; `None` if no scheme of this version takes it.
    pub(crate) keys: Option<&'static str>,
}

/// The family whose header is among these names (in lower case), except for the headers that are the source's
/// `own`.
pub(crate) fn foreign(names: &[&str], own: &[String]) -> Option<Foreign> {
    let is_there = |one: &&Foreign| {
        let is_own = own.iter().any(|own| own.eq_ignore_ascii_case(one.header));
        let mut names = names.iter();
        !is_own && names.any(|name| name.eq_ignore_ascii_case(one.header))
    };
    FAMILIES.iter().find(is_there).copied()
}

const fn family(header: &'static str, family: &'static str, keys: Option<&'static str>) -> Foreign {
    Foreign {
        header,
        family,
        keys,
    }
}

/// The more specific come first, because some senders add a header for receivers of others.
const FAMILIES: [Foreign; 20] = [
    family(
        "X-Gitea-Signature",
        "Gitea",
        Some(
            "scheme = \"hmac\"\nheader = \"X-Gitea-Signature\"\ndialect = \"raw\"\n\
         event_header = \"X-Gitea-Event\"\nid_header = \"X-Gitea-Delivery\"",
        ),
    ),
    family("X-OpenWA-Signature", "OpenWA", Some("scheme = \"openwa\"")),
    family(
        "X-Hub-Signature-256",
        "GitHub (Meta and GOWA)",
        Some("scheme = \"github\" # \"gowa\" for GOWA; \"meta\" with verify_token for Meta"),
    ),
    family("X-Slack-Signature", "Slack", Some("scheme = \"slack\"")),
    family(
        "X-Shopify-Hmac-Sha256",
        "Shopify",
        Some("scheme = \"shopify\""),
    ),
    family(
        "X-WC-Webhook-Signature",
        "WooCommerce",
        Some(
            "scheme = \"hmac\"\nheader = \"X-WC-Webhook-Signature\"\nencoding = \"base64\"\ndialect = \"raw\"\n\
         event_header = \"X-WC-Webhook-Topic\"",
        ),
    ),
    family("X-Line-Signature", "LINE", Some("scheme = \"line\"")),
    family(
        "X-Viber-Content-Signature",
        "Viber",
        Some("scheme = \"viber\""),
    ),
    family("X-Webhook-Hmac", "WAHA", Some("scheme = \"waha\"")),
    family("x-hmac-signature", "wuzapi", Some("scheme = \"wuzapi\"")),
    family(
        "Linear-Signature",
        "Linear",
        Some(
            "scheme = \"hmac\"\nheader = \"Linear-Signature\"\ndialect = \"raw\"\nid_header = \"Linear-Delivery\"",
        ),
    ),
    family(
        "webhook-signature",
        "Standard Webhooks",
        Some("scheme = \"standard-webhooks\""),
    ),
    family(
        "X-Webhook-Signature",
        "offhook's default",
        Some("scheme = \"x-webhook-signature\""),
    ),
    family(
        "X-Hub-Signature",
        "older receivers of GitHub, with SHA-1",
        Some(
            "scheme = \"hmac\"\nheader = \"X-Hub-Signature\"\nalgorithm = \"sha1\"\nprefix = \"sha1=\"\ndialect = \"raw\"",
        ),
    ),
    family("Stripe-Signature", "Stripe", Some("scheme = \"stripe\"")),
    family("svix-signature", "Svix", None),
    family(
        "X-Twilio-Signature",
        "Twilio",
        Some("scheme = \"twilio\"\npublic_url = \"https://THE.ADDRESS/AT/TWILIO\""),
    ),
    family(
        "X-Telegram-Bot-Api-Secret-Token",
        "Telegram",
        Some("scheme = \"telegram\""),
    ),
    family(
        "X-Gitlab-Token",
        "GitLab",
        Some("scheme = \"token\"\nheader = \"X-Gitlab-Token\"\ndialect = \"raw\""),
    ),
    family("X-Signature-Ed25519", "Discord", None),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_alone_tell_the_family() {
        let found = |names: &[&str], own: &[&str]| {
            let own: Vec<String> = own.iter().map(|name| (*name).to_owned()).collect();
            foreign(names, &own).map(|one| one.family)
        };
        let table: [(&[&str], &[&str], Option<&str>); 6] = [
            (
                &["host", "x-hub-signature-256"],
                &[],
                Some("GitHub (Meta and GOWA)"),
            ),
            (
                &["x-hub-signature-256", "x-gitea-signature"],
                &[],
                Some("Gitea"),
            ),
            (&["x-hub-signature-256"], &["x-hub-signature-256"], None),
            (&["x-webhook-signature"], &["x-webhook-signature"], None),
            (&["stripe-signature"], &[], Some("Stripe")),
            (&["host", "accept"], &[], None),
        ];
        for (names, own, expected) in table {
            assert_eq!(found(names, own), expected, "{names:?}");
        }
    }
}

//! [`Kind`]: the gateways that offhook can register at.

use std::fmt;
use std::str::FromStr;

use super::Shape;
use super::api::{Api, SecretUse};
use super::evolution::Evolution;
use super::gowa::Gowa;
use super::meta::{Meta, MetaApp};
use super::telegram::Telegram;
use super::waha::Waha;
use super::wuzapi::Wuzapi;

/// What a gateway is, which decides the requests that it takes.
///
/// ```
/// use offhook::gateway::Kind;
///
/// let kind: Kind = "telegram".parse().unwrap();
/// assert_eq!(kind.default_url(), Some("https://api.telegram.org"));
/// assert!(!kind.has_sessions());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Kind {
    /// The documented gateway, in one of three [shapes](Shape).
    #[default]
    Codeskytz,
    /// WAHA. A session is registered by its whole configuration, which restarts it, so only if something differs.
    Waha,
    /// Evolution API. A session is an instance.
    Evolution,
    /// GOWA (go-whatsapp-web-multidevice). A session is a device.
    Gowa,
    /// Telegram's Bot API. The key is the bot's token, and there is one registration for each bot.
    Telegram,
    /// A WhatsApp Business Account at Meta: a session is its id, and its events go to a URL of its own.
    Meta,
    /// An app at Meta: a session is its id, and all its events go to the URL.
    MetaApp,
    /// wuzapi. The key is the user's token, and there is one registration for each user.
    Wuzapi,
}

impl Kind {
    /// Every kind by its name, in the order of their declaration.
    pub const ALL: [(&'static str, Self); 8] = [
        ("codeskytz", Self::Codeskytz),
        ("waha", Self::Waha),
        ("evolution", Self::Evolution),
        ("gowa", Self::Gowa),
        ("telegram", Self::Telegram),
        ("meta", Self::Meta),
        ("meta-app", Self::MetaApp),
        ("wuzapi", Self::Wuzapi),
    ];

    /// The name in settings and options.
    pub const fn as_str(self) -> &'static str {
        Self::ALL[self as usize].0
    }

    /// Where the API of all gateways of this kind is, if they are at one place.
    pub fn default_url(self) -> Option<&'static str> {
        self.api(Shape::default()).url()
    }

    /// Whether a registration is for a session. Otherwise there is one for each key.
    pub fn has_sessions(self) -> bool {
        self.api(Shape::default()).has_sessions()
    }

    /// Whether the secret that it is told does not sign events, but is what it proves itself with while it is
    /// registered, as Meta's verify token.
    pub fn takes_verify_token(self) -> bool {
        self.api(Shape::default()).secret() == SecretUse::Verifies
    }

    /// What its key is, if every request needs one.
    pub(crate) fn needed_key(self) -> Option<&'static str> {
        self.api(Shape::default()).needed_key()
    }

    /// The schemes that verify what it sends; empty if that is not known.
    pub(crate) fn schemes(self) -> &'static [&'static str] {
        self.api(Shape::default()).schemes()
    }

    pub(super) fn api(self, shape: Shape) -> &'static dyn Api {
        match self {
            Self::Codeskytz => shape.api(),
            Self::Waha => &Waha,
            Self::Evolution => &Evolution,
            Self::Gowa => &Gowa,
            Self::Telegram => &Telegram,
            Self::Meta => &Meta,
            Self::MetaApp => &MetaApp,
            Self::Wuzapi => &Wuzapi,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let named = Self::ALL.iter().find(|(name, _)| *name == text);
        named.map(|(_, kind)| *kind).ok_or_else(|| {
            let allowed = Self::ALL.map(|(name, _)| name).join(", ");
            format!("found {text:?}; allowed: {allowed}")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_default_events() {
        for (name, kind) in Kind::ALL {
            assert_eq!((name.parse(), kind.to_string()), (Ok(kind), name.into()));
            let api = kind.api(Shape::default());
            let events = api.default_events().iter().map(|&name| name.to_owned());
            let events: Vec<String> = events.collect();
            assert!(
                events.is_empty() || api.check_events(&events).is_ok(),
                "{name}"
            );
        }
        assert!(
            "WAHA"
                .parse::<Kind>()
                .unwrap_err()
                .contains("codeskytz, waha, ")
        );
    }
}

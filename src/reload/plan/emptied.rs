//! [`Emptied`]: what a half-written file looks like.

use std::fmt;

use crate::settings::{AdminSettings, Settings};

/// Why a file looks half-written. It may be meant, which only a user knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Emptied {
    /// None of the sources is left.
    Sources,
    /// No handler and no subscription is left.
    Consumers,
    /// The admin listener is open to everyone then.
    Token,
    /// The end of the file is missing. The plan cannot know it.
    End,
}

impl Emptied {
    pub(super) fn between(old: &Settings, new: &Settings) -> Option<Self> {
        let is_left = |name: &str| new.sources.iter().any(|one| one.name == name);
        if !old.sources.is_empty() && !old.sources.iter().any(|one| is_left(&one.name)) {
            return Some(Self::Sources);
        }
        let has_consumers =
            |of: &Settings| !(of.handlers.is_empty() && of.subscriptions.is_empty());
        if has_consumers(old) && !has_consumers(new) {
            return Some(Self::Consumers);
        }
        let token = |admin: &Option<AdminSettings>| admin.as_ref()?.token.clone();
        let is_opened = token(&old.admin).is_some() && token(&new.admin).is_none();
        is_opened.then_some(Self::Token)
    }
}

impl fmt::Display for Emptied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self {
            Self::Sources => "none of the sources that run is in the file any more",
            Self::Consumers => "no handler and no subscription is in the file any more",
            Self::Token => "admin.token is not in the file any more",
            Self::End => "the file was shortened: it is only the beginning of what it was",
        };
        write!(
            f,
            "{what}, which looks like a half-written file; if it is meant, run `offhook reload`"
        )
    }
}

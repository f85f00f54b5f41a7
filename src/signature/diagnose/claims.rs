//! What headers claim, also where their timestamp is too far off, and which of them is wrong.

use std::borrow::Cow;
use std::cell::RefCell;

use jiff::Timestamp;

use crate::signature::generic::unix_time;
use crate::signature::scheme::{Claim, Headers, Refusal, Scheme};
use crate::signature::secret::Secret;

/// What a scheme signs around the body.
pub(super) struct Content {
    before: Vec<u8>,
    after: Vec<u8>,
}

impl Content {
    pub(super) fn of(claim: Claim) -> Self {
        let Claim { before, after, .. } = claim;
        Self { before, after }
    }

    pub(super) fn around<'a>(&self, body: &'a [u8]) -> Cow<'a, [u8]> {
        if self.before.is_empty() && self.after.is_empty() {
            return Cow::Borrowed(body);
        }
        [&self.before[..], body, &self.after].concat().into()
    }
}

/// The claims at `received_at`, or, if the timestamp is too far from it, those at the timestamp, which is
/// returned too.
pub(super) fn claim_at_its_time(
    scheme: &dyn Scheme,
    headers: &dyn Headers,
    received_at: Timestamp,
) -> (Result<Claim, Refusal>, Option<Timestamp>) {
    let claimed = scheme.claim(headers, received_at);
    if !matches!(claimed, Err(Refusal::Expired)) {
        return (claimed, None);
    }
    let own = scheme.claimed_time(headers).into_iter();
    let names = scheme.claim_headers().into_iter();
    let mut times = own.chain(names.filter_map(|name| unix_time(headers.value(&name).ok()?)));
    let found = times.find_map(|sent| Some((scheme.claim(headers, sent).ok()?, sent)));
    match found {
        Some((claim, sent)) => (Ok(claim), Some(sent)),
        None => (claimed, None),
    }
}

/// Whether a request is signed with this secret, at whatever time.
pub(crate) fn is_signed(
    scheme: &dyn Scheme,
    headers: &dyn Headers,
    body: &[u8],
    secret: &Secret,
    received_at: Timestamp,
) -> bool {
    let (claimed, _) = claim_at_its_time(scheme, headers, received_at);
    claimed.is_ok_and(|claim| scheme.matches(&claim, body, secret))
}

/// The header, in lower case, that these headers fail at: the one that [`Scheme::claim`] has looked up last.
pub(crate) fn failed_header(
    scheme: &dyn Scheme,
    headers: &dyn Headers,
    now: Timestamp,
) -> Option<String> {
    let last = LastAsked(headers, RefCell::default());
    scheme.claim(&last, now).err()?;
    last.1.into_inner()
}

/// Notes which header was looked up last.
struct LastAsked<'a>(&'a dyn Headers, RefCell<Option<String>>);

impl Headers for LastAsked<'_> {
    fn value(&self, name: &str) -> Result<&[u8], Refusal> {
        *self.1.borrow_mut() = Some(name.to_owned());
        self.0.value(name)
    }

    fn target(&self) -> Option<&str> {
        self.0.target()
    }
}

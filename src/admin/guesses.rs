//! [`Guesses`]: how many wrong tokens each address has shown in the last minute.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Counts wrong tokens: of a few addresses, and of all together, as there may be more than are told apart.
#[derive(Debug, Default)]
pub(crate) struct Guesses(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    peers: [Option<(Option<IpAddr>, Count)>; PEERS],
    /// Those that were answered 401.
    all: Option<Count>,
}

#[derive(Debug, Clone, Copy)]
struct Count {
    /// When the minute began.
    since: Instant,
    wrong: u32,
}

/// What a wrong token is answered.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Guess {
    Wrong,
    /// There were too many in this minute, which is over after this time. One is told as the first of them.
    TooMany {
        retry_after: Duration,
        is_first: bool,
        /// So many are answered 401 in a minute.
        allowed: u32,
        of_all: bool,
    },
}

impl Guesses {
    /// Counts a wrong token.
    pub(super) fn wrong(&self, peer: Option<IpAddr>, now: Instant) -> Guess {
        let peer = peer.map(network);
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Counts { peers, all } = &mut *counts;
        let found = peers.iter_mut().flatten();
        let mut found = found.filter(|(known, count)| *known == peer && count.is_current(now));
        if let Some((_, count)) = found.next() {
            if let Some(too_many) = count.add(now, ALLOWED, false) {
                return too_many;
            }
        } else {
            // The one with the fewest gives way, where none is free.
            let fewest = peers.iter_mut().min_by_key(|slot| {
                let current = slot.filter(|(_, count)| count.is_current(now));
                current.map(|(_, count)| (count.wrong, count.since))
            });
            if let Some(slot) = fewest {
                *slot = Some((peer, Count::first(now)));
            }
        }
        match all.as_mut().filter(|count| count.is_current(now)) {
            Some(count) => count.add(now, ALLOWED_TO_ALL, true).unwrap_or(Guess::Wrong),
            None => {
                *all = Some(Count::first(now));
                Guess::Wrong
            }
        }
    }
}

impl Count {
    fn first(now: Instant) -> Self {
        Self {
            since: now,
            wrong: 1,
        }
    }

    fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.since)
    }

    fn is_current(&self, now: Instant) -> bool {
        self.age(now) < MINUTE
    }

    /// Counts one more; says so if it is more than `allowed`.
    fn add(&mut self, now: Instant, allowed: u32, of_all: bool) -> Option<Guess> {
        self.wrong = self.wrong.saturating_add(1);
        (self.wrong > allowed).then(|| Guess::TooMany {
            retry_after: MINUTE - self.age(now),
            is_first: self.wrong == allowed + 1,
            allowed,
            of_all,
        })
    }
}

/// Whose address it is: an IPv6 network of 64 bits belongs to one.
fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// So many addresses are told apart.
const PEERS: usize = 16;

/// So many wrong tokens a minute of one address are answered 401.
const ALLOWED: u32 = 16;

/// So many of all addresses together.
const ALLOWED_TO_ALL: u32 = 256;

const MINUTE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock as _, SystemClock};

    #[test]
    fn the_seventeenth_of_a_minute_is_too_many() {
        let (guesses, start) = (Guesses::default(), SystemClock.monotonic());
        let guess = |ip: &str, seconds| {
            let peer = Some(ip.parse().unwrap());
            guesses.wrong(peer, start + Duration::from_secs(seconds))
        };
        for _ in 0..ALLOWED {
            assert_eq!(guess("10.0.0.1", 0), Guess::Wrong);
        }
        let too_many = |retry_after, is_first| Guess::TooMany {
            retry_after: Duration::from_secs(retry_after),
            is_first,
            allowed: ALLOWED,
            of_all: false,
        };
        assert_eq!(guess("10.0.0.1", 20), too_many(40, true));
        assert_eq!(guess("::ffff:10.0.0.1", 59), too_many(1, false));
        assert_eq!(guess("10.0.0.2", 59), Guess::Wrong);
        assert_eq!(guess("10.0.0.1", 60), Guess::Wrong);
    }

    #[test]
    fn addresses_of_one_network_are_one() {
        let (guesses, now) = (Guesses::default(), SystemClock.monotonic());
        for last in 0..ALLOWED {
            let peer = format!("2001:db8::{last:x}").parse().ok();
            assert_eq!(guesses.wrong(peer, now), Guess::Wrong);
        }
        let same = guesses.wrong("2001:db8::ff".parse().ok(), now);
        assert_ne!(same, Guess::Wrong);
        let other = guesses.wrong("2001:db8:0:1::1".parse().ok(), now);
        assert_eq!(other, Guess::Wrong);
    }

    #[test]
    fn the_one_with_the_fewest_gives_way() {
        let (guesses, now) = (Guesses::default(), SystemClock.monotonic());
        let guess = |last: usize| guesses.wrong(format!("10.0.0.{last}").parse().ok(), now);
        for peer in 1..PEERS {
            for _ in 0..ALLOWED {
                assert_eq!(guess(peer), Guess::Wrong);
            }
        }
        // Any number of others takes no place of theirs.
        for peer in 100..110 {
            assert_eq!(guess(peer), Guess::Wrong);
        }
        for peer in 1..PEERS {
            assert_ne!(guess(peer), Guess::Wrong, "{peer}");
        }
    }

    #[test]
    fn all_addresses_together_have_a_limit() {
        let (guesses, start) = (Guesses::default(), SystemClock.monotonic());
        let guess = |number: u32, seconds| {
            let peer = IpAddr::from((0x0a00_0000 + number).to_be_bytes());
            guesses.wrong(Some(peer), start + Duration::from_secs(seconds))
        };
        for number in 0..ALLOWED_TO_ALL {
            assert_eq!(guess(number, 0), Guess::Wrong);
        }
        let too_many = |is_first| Guess::TooMany {
            retry_after: Duration::from_secs(50),
            is_first,
            allowed: ALLOWED_TO_ALL,
            of_all: true,
        };
        assert_eq!(guess(1000, 10), too_many(true));
        assert_eq!(guess(1001, 10), too_many(false));
        assert_eq!(guess(1002, 60), Guess::Wrong);
    }
}

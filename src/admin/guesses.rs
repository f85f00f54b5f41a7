//! [`Guesses`]: how many wrong tokens each address has shown in the last minute.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Counts wrong tokens, for the few addresses that have shown one last.
#[derive(Debug, Default)]
pub(crate) struct Guesses(Mutex<[Option<Guesser>; PEERS]>);

#[derive(Debug, Clone, Copy)]
struct Guesser {
    peer: Option<IpAddr>,
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
    },
}

impl Guesses {
    /// Counts a wrong token.
    pub(super) fn wrong(&self, peer: Option<IpAddr>, now: Instant) -> Guess {
        let peer = peer.map(network);
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let age = |one: &Guesser| now.saturating_duration_since(one.since);
        let is_current = |one: &Guesser| age(one) < MINUTE;
        let found = known.iter_mut().flatten();
        let mut found = found.filter(|one| is_current(one));
        if let Some(one) = found.find(|one| one.peer == peer) {
            one.wrong = one.wrong.saturating_add(1);
            if one.wrong <= ALLOWED {
                return Guess::Wrong;
            }
            return Guess::TooMany {
                retry_after: MINUTE - age(one),
                is_first: one.wrong == ALLOWED + 1,
            };
        }
        // The oldest gives way, where none is free.
        let free = known.iter_mut().min_by_key(|slot| {
            let current = slot.filter(is_current);
            current.map(|one| one.since)
        });
        if let Some(slot) = free {
            *slot = Some(Guesser {
                peer,
                since: now,
                wrong: 1,
            });
        }
        Guess::Wrong
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

/// So many wrong tokens a minute are answered 401.
pub(super) const ALLOWED: u32 = 16;

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
    fn the_oldest_of_many_gives_way() {
        let (guesses, start) = (Guesses::default(), SystemClock.monotonic());
        let guess = |last: usize, seconds: usize| {
            let peer = format!("10.0.0.{last}").parse().ok();
            guesses.wrong(peer, start + Duration::from_secs(seconds as u64))
        };
        for peer in 0..PEERS {
            for _ in 0..ALLOWED {
                guess(peer, peer);
            }
        }
        assert_eq!(guess(100, 30), Guess::Wrong);
        assert_ne!(guess(1, 30), Guess::Wrong);
        assert_eq!(guess(0, 30), Guess::Wrong);
    }
}

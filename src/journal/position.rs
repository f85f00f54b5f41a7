//! [`Seq`]: where an event stands in its journal.

use std::collections::{HashMap, HashSet};

use foldhash::fast::FixedState;

/// The number of an event in its journal, from 1, without gaps.
pub(crate) type Seq = u64;

/// Something for each of some events. Senders do not choose the numbers of their events, so the hash
/// needs no protection against chosen keys.
pub(crate) type SeqMap<T> = HashMap<Seq, T, FixedState>;

/// Some events.
pub(crate) type SeqSet = HashSet<Seq, FixedState>;

//! Decides whether a newly received event is a duplicate of one in the journal.
//!
//! The newest entries are in memory, up to a limit ([`window`]). Older entries of the window are on
//! disk, in segments ([`sealed`]): sorted and written once, with a filter in memory that makes disk
//! reads rare. They are written by a thread of their own ([`seal`]). Inside the window the answer is
//! always right.

mod filter;
mod recent;
mod seal;
mod sealed;
mod segment;
mod tuning;
mod window;

pub(super) use super::dedup_entry::DedupEntry;
pub(crate) use filter::BloomFilter;
pub(super) use seal::SealingEnded;
#[cfg(feature = "test-support")]
pub(super) use segment::Segment;
pub(super) use segment::{
    any_segment, check_segment, newest_segment, remove_segments, segments_up_to,
};
#[cfg(feature = "postgres")]
pub(super) use segment::{entries_of_segment, length_of_segments};
pub(super) use tuning::DedupTuning;
pub(super) use window::DedupWindow;

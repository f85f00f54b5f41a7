//! Decides whether a newly received event is a duplicate of one in the journal.
//!
//! The newest entries are in memory, up to a limit ([`recent`]). Older entries of the window are on
//! disk, in segments ([`sealed`]): sorted and written once, with a filter in memory that makes disk
//! reads rare. Inside the window the answer is always right.

mod entry;
mod filter;
mod recent;
mod sealed;
mod segment;
mod tuning;
mod window;

pub(super) use entry::DedupEntry;
pub(super) use segment::any_segment;
#[cfg(test)]
pub(super) use segment::write_segment;
pub(super) use tuning::DedupTuning;
pub(super) use window::DedupWindow;

//! What makes a newly received event a duplicate of one that was kept.
//!
//! The newest entries are in memory, up to a limit ([`recent`]). Older ones of the window are in segments
//! on the disk ([`sealed`]): sorted, written once, with a filter in memory that makes a look at the disk
//! rare. Inside the window the answer is always right.

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

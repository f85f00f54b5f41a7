//! The integration tests: the real server, over real sockets, a file for each behaviour.

#![allow(clippy::unwrap_used, clippy::panic)] // a test wants to fail there
#![allow(unreachable_pub)] // nothing is outside

mod admin;
mod cli;
mod conformance;
mod events;
mod examples;
mod lifecycle;
mod listener;
mod logs;
mod middleware;
mod sessions;
mod slow;
mod support;

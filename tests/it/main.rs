//! The integration tests: the real server, over real sockets, a file for each behaviour.

#![allow(clippy::unwrap_used, clippy::panic)] // a test wants to fail there
#![allow(unreachable_pub)] // nothing is outside

mod admin;
mod attack;
mod batch_crash;
mod batches;
mod cli;
mod cli_events;
mod clock;
#[cfg(feature = "postgres")]
mod cluster;
mod conformance;
mod contains;
mod crash;
mod credentials;
#[cfg(feature = "test-support")]
mod custom_journal;
#[cfg(feature = "dashboard")]
mod dashboard;
#[cfg(feature = "dashboard")]
mod dashboard_event;
#[cfg(feature = "dashboard")]
mod dashboard_events;
mod deletion;
mod dialects;
mod events;
mod examples;
mod exec;
mod fault;
mod files;
mod from_file;
mod full_disk;
mod gateway;
mod gateways;
mod identity;
mod idle;
mod isolation;
mod journal_files;
mod jsonl;
mod lifecycle;
mod listener;
mod logs;
mod logs_json;
mod metrics;
mod middleware;
mod mounted;
mod openapi;
mod pages;
mod parts;
mod plans;
mod proxies;
mod records;
mod refused;
mod relay;
mod relay_crash;
mod relay_isolation;
mod reload;
mod replays;
mod roles;
mod schemes;
mod served;
mod sessions;
mod silence;
mod slow;
mod stats;
mod strangers;
mod stream;
mod structure;
mod subscriber;
mod subscribers;
mod subscriptions;
mod support;
mod systemd;
mod tail;
mod tls;
mod trials;

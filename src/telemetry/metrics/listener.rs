//! Connections of the public listener: [`ListenerMetrics`].

use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;

use super::family::{Family, Gauge, Labels, family};

pub(super) struct ListenerFamilies {
    connections: Family<Gauge>,
    in_flight_bytes: Family<Gauge>,
    slow_heads: Family<Counter>,
}

impl ListenerFamilies {
    pub(super) fn new(registry: &mut Registry) -> Self {
        Self {
            connections: family(
                registry,
                "offhook_connections",
                "Open connections of the public listener",
                Gauge::default,
            ),
            in_flight_bytes: family(
                registry,
                "offhook_in_flight_bytes",
                "Bytes of bodies held now, over all connections",
                Gauge::default,
            ),
            slow_heads: family(
                registry,
                "offhook_slow_heads_total",
                "Connections closed because a request's head took too long",
                Counter::default,
            ),
        }
    }
}

/// The handles of the public listener.
pub(crate) struct ListenerMetrics {
    connections: Gauge,
    in_flight_bytes: Gauge,
    slow_heads: Counter,
}

impl ListenerMetrics {
    pub(super) fn new(families: &ListenerFamilies) -> Self {
        let none = Labels::new();
        Self {
            connections: families.connections.get_or_create_owned(&none),
            in_flight_bytes: families.in_flight_bytes.get_or_create_owned(&none),
            slow_heads: families.slow_heads.get_or_create_owned(&none),
        }
    }

    /// Counts a connection that was opened.
    pub(crate) fn opened(&self) {
        self.connections.inc();
    }

    /// Counts a connection that was closed.
    pub(crate) fn closed(&self) {
        self.connections.dec();
    }

    /// Counts a connection that was closed because a request's head took too long.
    pub(crate) fn slow_head(&self) {
        self.slow_heads.inc();
    }

    /// Sets how many bytes of bodies are in memory now.
    pub(crate) fn in_flight(&self, bytes: usize) {
        self.in_flight_bytes.set(bytes as u64);
    }
}

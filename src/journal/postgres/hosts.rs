//! [`Host`]: one of the hosts that a URL names.

use std::net::IpAddr;

use tokio_postgres::Config;
use tokio_postgres::config::{self, LoadBalanceHosts};

/// A host, and how to connect to it alone.
pub(super) struct Host {
    /// As it is shown, with its port.
    pub(super) name: String,
    pub(super) config: Config,
}

/// Returns the hosts of the configuration, each with all else that it says.
pub(super) fn each(all: &Config) -> Vec<Host> {
    let (hosts, addresses) = (all.get_hosts(), all.get_hostaddrs());
    let count = hosts.len().max(addresses.len());
    let one = |index| {
        let (host, address, port) = (hosts.get(index), addresses.get(index), port(all, index));
        let mut config = without_hosts(all);
        match host {
            Some(config::Host::Tcp(name)) => {
                config.host(name);
            }
            Some(config::Host::Unix(path)) => {
                config.host_path(path);
            }
            None => {}
        }
        if let Some(address) = address {
            config.hostaddr(*address);
        }
        config.port(port);
        Host {
            name: shown(host, address, port),
            config,
        }
    };
    (0..count).map(one).collect()
}

fn port(all: &Config, index: usize) -> u16 {
    let ports = all.get_ports();
    let port = ports.get(index).or(ports.first());
    port.copied().unwrap_or(5432)
}

fn shown(host: Option<&config::Host>, address: Option<&IpAddr>, port: u16) -> String {
    match (host, address) {
        (Some(config::Host::Tcp(name)), _) => format!("{name}:{port}"),
        (Some(config::Host::Unix(path)), _) => path.display().to_string(),
        (None, Some(address)) => format!("{address}:{port}"),
        (None, None) => String::new(),
    }
}

fn without_hosts(all: &Config) -> Config {
    let mut one = Config::new();
    if let Some(user) = all.get_user() {
        one.user(user);
    }
    if let Some(name) = all.get_dbname() {
        one.dbname(name);
    }
    if let Some(options) = all.get_options() {
        one.options(options);
    }
    if let Some(name) = all.get_application_name() {
        one.application_name(name);
    }
    if let Some(password) = all.get_password() {
        one.password(password);
    }
    if let Some(timeout) = all.get_connect_timeout() {
        one.connect_timeout(*timeout);
    }
    if let Some(timeout) = all.get_tcp_user_timeout() {
        one.tcp_user_timeout(*timeout);
    }
    if let Some(interval) = all.get_keepalives_interval() {
        one.keepalives_interval(interval);
    }
    if let Some(retries) = all.get_keepalives_retries() {
        one.keepalives_retries(retries);
    }
    one.keepalives(all.get_keepalives())
        .keepalives_idle(all.get_keepalives_idle())
        .ssl_mode(all.get_ssl_mode())
        .ssl_negotiation(all.get_ssl_negotiation())
        .target_session_attrs(all.get_target_session_attrs())
        .channel_binding(all.get_channel_binding())
        // Of several addresses of one name none is the first each time.
        .load_balance_hosts(LoadBalanceHosts::Random);
    one
}

//! Which keys of a section, or of an item of a list, differ. Each comparison names all fields of its type
//! (`differing!`), so that a field that is added later does not compile until it is known here.

use crate::Source;
use crate::dispatch::HandlerOptions;
use crate::relay::{RelayOptions, RelaySettings, SubscriptionSettings};
use crate::settings::{
    AdminSettings, GatewaySettings, HandlerSettings, LogSettings, PostgresSettings,
    RefusedSettings, ServerSettings, SqliteSettings, TlsSettings,
};

/// The keys of the fields that differ. Names every field of the type.
macro_rules! differing {
    ($type:ident { $($field:ident: $key:literal),* $(,)? }, $old:expr, $new:expr) => {{
        let ($type { $($field),* }, new): (&$type, &$type) = ($old, $new);
        let mut keys: Vec<&'static str> = Vec::new();
        $(
            // References are compared, because a `dyn` cannot be moved.
            if $field != &new.$field {
                keys.push($key);
            }
        )*
        keys
    }};
}

pub(super) fn server_keys(old: &ServerSettings, new: &ServerSettings) -> Vec<&'static str> {
    differing!(
        ServerSettings {
            bind: "bind",
            workers: "workers",
            max_body: "max_body",
            max_in_flight: "max_in_flight",
            max_connections: "max_connections",
            request_timeout: "request_timeout",
            keep_alive: "keep_alive",
            min_body_rate: "min_body_rate",
            drain_delay: "drain_delay",
            health_path: "health_path",
            trusted_proxies: "trusted_proxies",
            tls: "tls",
        },
        old,
        new
    )
}

pub(super) fn admin_keys(old: &AdminSettings, new: &AdminSettings) -> Vec<&'static str> {
    differing!(
        AdminSettings {
            bind: "bind",
            token: "token",
            viewer_token: "viewer_token",
            show_bodies: "show_bodies",
            path_prefix: "path_prefix",
            max_viewers: "max_viewers",
            tls: "tls",
        },
        old,
        new
    )
}

pub(super) fn log_keys(old: &LogSettings, new: &LogSettings) -> Vec<&'static str> {
    differing!(
        LogSettings {
            format: "format",
            level: "level",
        },
        old,
        new
    )
}

pub(super) fn refused_keys(old: &RefusedSettings, new: &RefusedSettings) -> Vec<&'static str> {
    differing!(
        RefusedSettings {
            keep: "keep",
            body: "body",
            total: "total",
        },
        old,
        new
    )
}

pub(super) fn sqlite_keys(old: &SqliteSettings, new: &SqliteSettings) -> Vec<&'static str> {
    differing!(
        SqliteSettings {
            path: "path",
            retention: "retention",
            retention_size: "retention_size",
            dedup_window: "dedup_window",
            dedup_window_unkeyed: "dedup_window_unkeyed",
        },
        old,
        new
    )
}

pub(super) fn postgres_keys(old: &PostgresSettings, new: &PostgresSettings) -> Vec<&'static str> {
    differing!(
        PostgresSettings {
            url: "url",
            tls: "tls",
            schema: "schema",
            durability: "durability",
            shares: "shares",
            lease: "lease",
            append_timeout: "append_timeout",
            instance: "instance",
            path: "path",
            retention: "retention",
            retention_size: "retention_size",
            dedup_window: "dedup_window",
            dedup_window_unkeyed: "dedup_window_unkeyed",
        },
        old,
        new
    )
}

pub(super) fn tls_keys(old: &TlsSettings, new: &TlsSettings) -> Vec<&'static str> {
    differing!(
        TlsSettings {
            certificate: "certificate",
            key: "key",
            client_ca: "client_ca",
            min_version: "min_version",
        },
        old,
        new
    )
}

pub(super) fn source_name(source: &Source) -> String {
    source.name.clone()
}

pub(super) fn source_keys(old: &Source, new: &Source) -> Vec<&'static str> {
    let mut keys = differing!(
        Source {
            name: "name",
            path: "path",
            scheme: "scheme",
            dialect: "dialect",
            secrets: "secrets",
            sessions: "sessions",
            path_token: "path_token",
            probe: "probe",
            quiet_after: "quiet_after",
            quiet_sessions: "sessions",
        },
        old,
        new
    );
    keys.dedup();
    keys
}

pub(super) fn handler_keys(old: &HandlerSettings, new: &HandlerSettings) -> Vec<&'static str> {
    let mut keys = differing!(
        HandlerSettings {
            name: "name",
            used: "use",
            options: "options",
        },
        old,
        new
    );
    name_options(&mut keys, options(&old.options, &new.options));
    keys
}

/// The subscription as its consumer is named.
pub(super) fn subscription_name(one: &SubscriptionSettings) -> String {
    format!("{:?} to session {:?}", one.name, one.session)
}

pub(super) fn subscription_keys(
    old: &SubscriptionSettings,
    new: &SubscriptionSettings,
) -> Vec<&'static str> {
    let mut keys = differing!(
        SubscriptionSettings {
            name: "name",
            session: "session",
            webhook_url: "webhook_url",
            secrets: "secrets",
            headers: "headers",
            options: "options",
        },
        old,
        new
    );
    name_options(&mut keys, options(&old.options, &new.options));
    keys
}

pub(super) fn gateway_keys(old: &GatewaySettings, new: &GatewaySettings) -> Vec<&'static str> {
    differing!(
        GatewaySettings {
            name: "name",
            gateway: "kind, url, shape, headers or api_key",
            sessions: "sessions",
            registration: "webhook_url, events, secret or verify_token",
        },
        old,
        new
    )
}

pub(super) fn relay_keys(old: &RelaySettings, new: &RelaySettings) -> Vec<&'static str> {
    let mut keys = differing!(
        RelaySettings {
            options: "options",
            suspend_after: "suspend_after",
        },
        old,
        new
    );
    let own = differing!(
        RelayOptions {
            timeout: "timeout",
            allow_private: "allow_private",
            allow: "allow",
            give_up_on: "give_up_on",
            trace: "trace",
        },
        &old.options,
        &new.options
    );
    name_options(&mut keys, own);
    keys
}

/// Says which of the options differ, in place of the word.
fn name_options(keys: &mut Vec<&'static str>, own: Vec<&'static str>) {
    keys.retain(|key| *key != "options");
    keys.extend(own);
}

pub(super) fn options(old: &HandlerOptions, new: &HandlerOptions) -> Vec<&'static str> {
    differing!(
        HandlerOptions {
            events: "events",
            sessions: "sessions",
            order: "order",
            timeout: "timeout",
            concurrency: "concurrency",
            retry: "retry",
            monotonic: "status",
            suspend_after: "suspend_after",
        },
        old,
        new
    )
}

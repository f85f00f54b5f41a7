//! The kinds of values: how each is written, and which values are allowed.
//!
//! A kind is a function from a [`Spot`] to its value. If the value is wrong, it notes the problem and
//! returns `None`.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use bytesize::ByteSize;
use config::ValueKind;
use ipnet::IpNet;
use serde::Serializer;

use super::spot::Spot;
use crate::signature::Secret;

/// For an optional field: wraps what is read in `Some`.
pub(super) fn some<T>(
    kind: impl FnOnce(&Spot<'_>) -> Option<T>,
) -> impl FnOnce(&Spot<'_>) -> Option<Option<T>> {
    move |spot| kind(spot).map(Some)
}

/// Notes `problem` at a value that is not `good`.
pub(super) fn checked<T>(
    kind: impl Fn(&Spot<'_>) -> Option<T>,
    good: impl Fn(&T) -> bool,
    problem: &'static str,
) -> impl Fn(&Spot<'_>) -> Option<T> {
    move |spot| {
        let value = kind(spot)?;
        if !good(&value) {
            spot.note(problem);
        }
        Some(value)
    }
}

/// One way to read a table, and the name that chooses it.
pub(super) type Variant<T> = (&'static str, fn(&Spot<'_>) -> Option<T>);

/// Reads a table as the variant that `key` names. Notes keys that belong only to other variants. Without
/// the key it is the first variant, or, if the key is `required`, a problem.
pub(super) fn variant<T>(
    table: &Spot<'_>,
    key: &'static str,
    required: Option<&str>,
    variants: &[Variant<T>],
) -> Option<T> {
    let names: Vec<_> = variants.iter().map(|one| (one.0, one)).collect();
    let chosen = match required {
        Some(what) => table.required(key, one_of(&names), what),
        None => read_or(table, key, &names, &variants[0]),
    };
    read_as(table, key, chosen, variants)
}

/// As [`variant`]; without the key it is the variant `default`, or the last if there is none of this name.
pub(super) fn variant_or<T>(
    table: &Spot<'_>,
    key: &'static str,
    default: &str,
    variants: &[Variant<T>],
) -> Option<T> {
    let names: Vec<_> = variants.iter().map(|one| (one.0, one)).collect();
    let (last, _) = variants.split_last()?;
    let default = variants.iter().find(|one| one.0 == default);
    let chosen = read_or(table, key, &names, default.unwrap_or(last));
    read_as(table, key, chosen, variants)
}

/// The variant that `key` names; without the key it is `default`.
fn read_or<'a, T>(
    table: &Spot<'_>,
    key: &'static str,
    names: &[(&'static str, &'a Variant<T>)],
    default: &'a Variant<T>,
) -> Option<&'a Variant<T>> {
    let read = table.read(key, one_of(names));
    if table.has(key) { read } else { Some(default) }
}

fn read_as<T>(
    table: &Spot<'_>,
    key: &'static str,
    chosen: Option<&Variant<T>>,
    variants: &[Variant<T>],
) -> Option<T> {
    let read = chosen.and_then(|(_, read)| read(table));
    let wrong = chosen.map(|(name, _)| format!("does not belong to {key} = {name:?}"));
    for (_, other) in variants {
        table.pass(wrong.as_deref(), other);
    }
    read
}

pub(super) fn text(spot: &Spot<'_>) -> Option<String> {
    match spot.value {
        ValueKind::String(text) => Some(text.clone()),
        // The error does not show the value, which may be a secret without quotes.
        _ => spot.wrong_kind("a text in quotes"),
    }
}

pub(super) fn texts(spot: &Spot<'_>) -> Option<Vec<String>> {
    spot.each("[\"one\", \"another\"]", text)
}

pub(super) fn file_path(spot: &Spot<'_>) -> Option<PathBuf> {
    let path = checked(text, |path| !path.is_empty(), "is empty; it is a path")(spot)?;
    Some(path.into())
}

/// A secret, or a reference to one. It is never shown.
pub(super) fn secret(spot: &Spot<'_>) -> Option<Secret> {
    match spot.value {
        ValueKind::String(reference) => noted(spot, Secret::resolve(reference)),
        _ => spot.wrong_kind("a secret: \"env:NAME\", \"file:PATH\" or the text itself"),
    }
}

pub(super) fn secret_list(spot: &Spot<'_>) -> Option<Vec<Secret>> {
    let example = "[\"env:NAME\"], [\"file:PATH\"] or [\"the text itself\"]";
    spot.each(example, secret)
}

/// The value of a result. Notes its error.
pub(super) fn noted<T>(spot: &Spot<'_>, result: Result<T, impl Display>) -> Option<T> {
    result.map_err(|error| spot.note(error.to_string())).ok()
}

pub(super) fn boolean(spot: &Spot<'_>) -> Option<bool> {
    plain(spot, "true or false", |_| true)
}

/// A whole number within limits.
pub(super) fn whole<T: FromStr + PartialOrd + Display>(
    allowed: RangeInclusive<T>,
) -> impl Fn(&Spot<'_>) -> Option<T> {
    within("a whole number", allowed)
}

/// A number within limits.
pub(super) fn number(allowed: RangeInclusive<f64>) -> impl Fn(&Spot<'_>) -> Option<f64> {
    within("a number", allowed)
}

fn within<T: FromStr + PartialOrd + Display>(
    what: &str,
    allowed: RangeInclusive<T>,
) -> impl Fn(&Spot<'_>) -> Option<T> {
    let expected = format!("{what} from {} to {}", allowed.start(), allowed.end());
    move |spot| plain(spot, &expected, |number| allowed.contains(number))
}

/// A number of bytes, at least one.
pub(super) fn size<T: TryFrom<u64>>(spot: &Spot<'_>) -> Option<T> {
    bytes(spot, "a size of at least 1 byte, such as \"32 MiB\"")
}

/// A number of bytes a second, at least one.
pub(super) fn rate(spot: &Spot<'_>) -> Option<u64> {
    let expected =
        "bytes a second, such as \"16 KiB\"; the least is \"1 B\", which is nearly no limit";
    bytes(spot, expected)
}

fn bytes<T: TryFrom<u64>>(spot: &Spot<'_>, expected: &str) -> Option<T> {
    let size: ByteSize = plain(spot, expected, |size| *size > ByteSize::b(0))?;
    T::try_from(size.as_u64())
        .ok()
        .or_else(|| spot.wrong(expected))
}

/// A duration from 1 ms to 1 year.
pub(super) fn duration(spot: &Spot<'_>) -> Option<Duration> {
    let allowed = Duration::from_millis(1)..=Duration::from_secs(365 * 24 * 3600);
    let expected = "a duration from 1ms to 365days, such as \"10s\" or \"5m\"";
    let duration = plain(spot, expected, |duration: &humantime::Duration| {
        allowed.contains(&**duration)
    });
    duration.map(Into::into)
}

/// A duration up to 1 year, of which 0 means none.
pub(super) fn duration_or_none(spot: &Spot<'_>) -> Option<Duration> {
    let longest = Duration::from_secs(365 * 24 * 3600);
    let expected = "a duration up to 365days, such as \"7d\", or \"0s\" for none";
    let duration = plain(spot, expected, |duration: &humantime::Duration| {
        **duration <= longest
    });
    duration.map(Into::into)
}

pub(super) fn address(spot: &Spot<'_>) -> Option<SocketAddr> {
    let text = spot.value.to_string();
    let address = text.replacen("localhost:", "127.0.0.1:", 1);
    let expected = "an address with a port, such as \"127.0.0.1:5000\" or \"[::]:5000\"";
    address.parse().ok().or_else(|| spot.wrong(expected))
}

/// A list of networks and single addresses.
pub(super) fn networks(spot: &Spot<'_>) -> Option<Vec<IpNet>> {
    let network = |text: &str| {
        let address = text.parse().map(|address: IpAddr| address.into());
        address.or_else(|_| text.parse()).ok()
    };
    let expected = "a network such as \"10.0.0.0/8\", or an address";
    spot.each("[\"10.0.0.0/8\"]", |item| {
        network(&text(item)?).or_else(|| item.wrong(expected))
    })
}

/// A value that may be in quotes, or a bare number. Environment variables hold only texts.
fn plain<T: FromStr>(
    spot: &Spot<'_>,
    expected: &str,
    allowed: impl FnOnce(&T) -> bool,
) -> Option<T> {
    let value = spot.value.to_string().parse().ok().filter(allowed);
    value.or_else(|| spot.wrong(expected))
}

/// One of a list of names.
pub(super) fn one_of<T: Copy>(names: &[(&str, T)]) -> impl Fn(&Spot<'_>) -> Option<T> {
    move |spot| {
        let text = text(spot)?;
        let named = names.iter().find(|(name, _)| *name == text);
        if named.is_none() {
            let allowed: Vec<&str> = names.iter().map(|(name, _)| *name).collect();
            let allowed = allowed.join(", ");
            spot.note(format!("found {text:?}; allowed: {allowed}"));
        }
        named.map(|(_, value)| *value)
    }
}

/// A table whose keys are names chosen by the user.
pub(super) fn by_name<T>(
    kind: impl Fn(&Spot<'_>) -> Option<T>,
) -> impl Fn(&Spot<'_>) -> Option<BTreeMap<String, T>> {
    move |spot| {
        let ValueKind::Table(map) = spot.value else {
            return spot.wrong_kind("a table");
        };
        let mut names: Vec<&String> = map.keys().collect();
        names.sort_unstable();
        let values = names
            .into_iter()
            .filter_map(|name| Some((name.clone(), kind(&spot.at(name))?)));
        Some(values.collect())
    }
}

/// Writes a path as text, even if it is not UTF-8.
pub(super) fn write_path<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&path.display())
}

//! [`Table`]: takes one table of the settings apart, key by key.
//!
//! Reading a key marks it as known. [`Table::finish`] then reports the keys nobody read, so that
//! the list of allowed keys can never differ from what is really read. A problem says what was
//! found, except where it may be a secret.

use std::borrow::Cow;
use std::cell::RefCell;
use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use bytesize::ByteSize;
use config::{Map, Value, ValueKind};

use super::problem::Notes;
use crate::signature::Secret;

/// Where in the settings something stands.
#[derive(Debug, Clone)]
pub(super) struct Place {
    file: String,
    keys: String,
}

impl Place {
    pub(super) fn root(file: &str) -> Self {
        Self {
            file: file.to_owned(),
            keys: String::new(),
        }
    }

    pub(super) fn key(&self, key: &str) -> Self {
        let keys = match self.keys.as_str() {
            "" => key.to_owned(),
            before => format!("{before}.{key}"),
        };
        Self {
            file: self.file.clone(),
            keys,
        }
    }

    fn index(&self, index: usize) -> Self {
        Self {
            file: self.file.clone(),
            keys: format!("{}[{index}]", self.keys),
        }
    }

    /// The place in words: the environment's variable where the value is from there.
    fn shown(&self, value: Option<&Value>) -> String {
        match value.is_some_and(is_from_environment) {
            true => {
                let name = self.keys.to_ascii_uppercase().replace('.', "__");
                format!("environment variable OFFHOOK__{name}")
            }
            false => self.to_string(),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.keys.as_str() {
            "" => f.write_str(&self.file),
            keys => write!(f, "{}: {keys}", self.file),
        }
    }
}

/// One table, being read.
pub(super) struct Table<'a> {
    place: Place,
    map: &'a Map<String, Value>,
    read: RefCell<Vec<&'static str>>,
    notes: &'a Notes,
}

impl<'a> Table<'a> {
    pub(super) fn of(place: &Place, value: &'a Value, notes: &'a Notes) -> Option<Self> {
        match &value.kind {
            ValueKind::Table(map) => Some(Self {
                place: place.clone(),
                map,
                read: RefCell::default(),
                notes,
            }),
            ValueKind::Nil => None,
            _ => {
                let text = format!("found {}, expected a table", kind(value));
                notes.add(place.shown(Some(value)), text);
                None
            }
        }
    }

    /// Every key and value, for tables whose keys are names that the user picks.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&'a str, Place, &'a Value)> {
        let mut entries: Vec<_> = self.map.iter().collect();
        entries.sort_by_key(|(key, _)| *key);
        let place = self.place.clone();
        entries
            .into_iter()
            .map(move |(key, value)| (key.as_str(), place.key(key), value))
    }

    /// The tables under names that the user picks.
    pub(super) fn children(&self) -> Vec<(&'a str, Table<'a>)> {
        let tables = self.entries().filter_map(|(key, place, value)| {
            Table::of(&place, value, self.notes).map(|table| (key, table))
        });
        tables.collect()
    }

    /// The texts under names that the user picks; they may be secrets, and are not shown.
    pub(super) fn texts(&self) -> Vec<(&'a str, String)> {
        let texts = self
            .entries()
            .filter_map(|(key, place, value)| match &value.kind {
                ValueKind::String(text) => Some((key, text.clone())),
                _ => {
                    let text = format!("found {}, expected a text in quotes", kind(value));
                    self.notes.add(place.shown(Some(value)), text);
                    None
                }
            });
        texts.collect()
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.map.contains_key(key)
    }

    pub(super) fn table(&self, key: &'static str) -> Option<Table<'a>> {
        let value = self.value(key)?;
        Table::of(&self.place.key(key), value, self.notes)
    }

    /// The tables of a `[[key]]` list.
    pub(super) fn tables(&self, key: &'static str) -> Vec<Table<'a>> {
        let Some(value) = self.value(key) else {
            return Vec::new();
        };
        let place = self.place.key(key);
        let ValueKind::Array(items) = &value.kind else {
            let text = format!("found {}, expected a list: write [[{key}]]", kind(value));
            self.notes.add(place.shown(Some(value)), text);
            return Vec::new();
        };
        let tables = items
            .iter()
            .enumerate()
            .filter_map(|(index, item)| Table::of(&place.index(index), item, self.notes));
        tables.collect()
    }

    pub(super) fn string(&self, key: &'static str) -> Option<String> {
        let value = self.value(key)?;
        self.text_of(key, value).map(str::to_owned)
    }

    /// A string that must be there and not be empty.
    pub(super) fn required(&self, key: &'static str, what: &str) -> Option<String> {
        if !self.map.contains_key(key) {
            self.read.borrow_mut().push(key);
            self.problem(key, format!("is missing; it is {what}"));
            return None;
        }
        let text = self.string(key)?;
        if text.is_empty() {
            self.problem(key, format!("is empty; it is {what}"));
            return None;
        }
        Some(text)
    }

    /// One of some names.
    pub(super) fn one_of<T: Copy>(
        &self,
        key: &'static str,
        names: &[(&'static str, T)],
    ) -> Option<T> {
        let text = self.string(key)?;
        let named = names.iter().find(|(name, _)| *name == text);
        if named.is_none() {
            let allowed: Vec<_> = names.iter().map(|(name, _)| *name).collect();
            self.problem(
                key,
                format!("found {text:?}; allowed: {}", allowed.join(", ")),
            );
        }
        named.map(|(_, value)| *value)
    }

    pub(super) fn boolean(&self, key: &'static str) -> Option<bool> {
        let value = self.value(key)?;
        match &value.kind {
            ValueKind::Boolean(on) => Some(*on),
            ValueKind::String(text) if text == "true" => Some(true),
            ValueKind::String(text) if text == "false" => Some(false),
            _ => self.wrong(key, value, "true or false"),
        }
    }

    pub(super) fn integer(&self, key: &'static str, least: usize, most: usize) -> Option<usize> {
        let value = self.value(key)?;
        let number = match &value.kind {
            ValueKind::I64(number) => usize::try_from(*number).ok(),
            ValueKind::String(text) => text.parse().ok(),
            _ => None,
        };
        match number {
            Some(number) if (least..=most).contains(&number) => Some(number),
            _ => self.wrong(
                key,
                value,
                &format!("a whole number from {least} to {most}"),
            ),
        }
    }

    pub(super) fn number(&self, key: &'static str, least: f64, most: f64) -> Option<f64> {
        let value = self.value(key)?;
        let number = match &value.kind {
            ValueKind::I64(number) => Some(*number as f64),
            ValueKind::Float(number) => Some(*number),
            ValueKind::String(text) => text.parse().ok(),
            _ => None,
        };
        match number {
            Some(number) if (least..=most).contains(&number) => Some(number),
            _ => self.wrong(key, value, &format!("a number from {least} to {most}")),
        }
    }

    pub(super) fn address(&self, key: &'static str) -> Option<SocketAddr> {
        let value = self.value(key)?;
        let text = self.text_of(key, value)?;
        let localhost = text
            .strip_prefix("localhost:")
            .map(|port| format!("127.0.0.1:{port}"));
        let address = localhost.as_deref().unwrap_or(text).parse().ok();
        address.or_else(|| {
            let expected = "an address with a port, such as \"127.0.0.1:5000\" or \"[::]:5000\"";
            self.wrong(key, value, expected)
        })
    }

    /// A duration longer than nothing.
    pub(super) fn duration(&self, key: &'static str) -> Option<Duration> {
        let value = self.value(key)?;
        let text = self.text_of(key, value);
        let duration = text.and_then(|text| humantime::parse_duration(text).ok());
        match duration.filter(|duration| (MIN_DURATION..=MAX_DURATION).contains(duration)) {
            Some(duration) => Some(duration),
            None if text.is_none() => None,
            None => self.wrong(
                key,
                value,
                "a duration from 1ms to 365days, such as \"10s\" or \"5m\"",
            ),
        }
    }

    /// A number of bytes, at least one.
    pub(super) fn bytes(&self, key: &'static str) -> Option<usize> {
        let value = self.value(key)?;
        let bytes = match &value.kind {
            ValueKind::I64(number) => u64::try_from(*number).ok(),
            ValueKind::String(text) => ByteSize::from_str(text).ok().map(|size| size.as_u64()),
            _ => None,
        };
        let bytes = bytes.and_then(|bytes| usize::try_from(bytes).ok());
        bytes
            .filter(|bytes| *bytes > 0)
            .or_else(|| self.wrong(key, value, "a size of at least 1 byte, such as \"32 MiB\""))
    }

    pub(super) fn strings(&self, key: &'static str) -> Option<Vec<String>> {
        let value = self.value(key)?;
        let Some(items) = items(value) else {
            return self.wrong(key, value, "a list of texts: [\"one\", \"another\"]");
        };
        let texts = items.iter().map(|item| match &item.kind {
            ValueKind::String(text) => Some(text.clone()),
            _ => self.wrong(key, item, "a text in the list"),
        });
        texts.collect()
    }

    pub(super) fn integers(&self, key: &'static str, least: i64, most: i64) -> Option<Vec<i64>> {
        let value = self.value(key)?;
        let Some(items) = items(value) else {
            return self.wrong(key, value, "a list of whole numbers, such as [64, 65]");
        };
        let numbers = items.iter().map(|item| {
            let number = match &item.kind {
                ValueKind::I64(number) => Some(*number),
                ValueKind::String(text) if is_from_environment(item) => text.parse().ok(),
                _ => None,
            };
            let number = number.filter(|number| (least..=most).contains(number));
            number
                .or_else(|| self.wrong(key, item, &format!("whole numbers from {least} to {most}")))
        });
        numbers.collect()
    }

    /// A secret, resolved. What was found is never shown.
    pub(super) fn secret(&self, key: &'static str) -> Option<Secret> {
        let value = self.value(key)?;
        resolve(&self.place.key(key), value, self.notes)
    }

    /// A list of secrets, resolved.
    pub(super) fn secrets(&self, key: &'static str) -> Option<Vec<Secret>> {
        let value = self.value(key)?;
        let place = self.place.key(key);
        let ValueKind::Array(items) = &value.kind else {
            let text =
                "expected a list of secrets: [\"env:NAME\"], [\"file:PATH\"] or the text itself";
            self.notes.add(place.shown(Some(value)), text);
            return None;
        };
        let items = items.iter().enumerate();
        let secrets = items.map(|(index, item)| resolve(&place.index(index), item, self.notes));
        // Every one is looked at, so that every problem is told.
        let secrets: Vec<_> = secrets.collect();
        secrets.into_iter().collect()
    }

    /// A key of a part that this version does not have.
    pub(super) fn not_yet(&self, key: &'static str, part: &str) {
        if let Some(value) = self.map.get(key) {
            let text = format!("this version has no {part} yet; take the key out");
            self.notes.add(self.place.key(key).shown(Some(value)), text);
        }
    }

    pub(super) fn problem(&self, key: &str, text: impl Into<String>) {
        let place = self.place.key(key).shown(self.map.get(key));
        self.notes.add(place, text);
    }

    /// Reports every key that was not read. Keys that [`Table::not_yet`] has reported are left out.
    pub(super) fn finish(&self) {
        let mut read = self.read.borrow().clone();
        read.sort_unstable();
        for (key, place, value) in self.entries() {
            let shown = place.shown(Some(value));
            if read.contains(&key) || self.notes.has(&shown) {
                continue;
            }
            let text = format!("unknown key; there are: {}", read.join(", "));
            self.notes.add(shown, text);
        }
    }

    fn value(&self, key: &'static str) -> Option<&'a Value> {
        self.read.borrow_mut().push(key);
        self.map.get(key)
    }

    fn text_of<'v>(&self, key: &'static str, value: &'v Value) -> Option<&'v str> {
        match &value.kind {
            ValueKind::String(text) => Some(text),
            _ => self.wrong(key, value, "a text in quotes"),
        }
    }

    fn wrong<T>(&self, key: &str, value: &Value, expected: &str) -> Option<T> {
        let found = match &value.kind {
            ValueKind::String(text) => format!("{text:?}"),
            ValueKind::Boolean(_) | ValueKind::I64(_) | ValueKind::Float(_) => value.to_string(),
            _ => kind(value).to_owned(),
        };
        let place = self.place.key(key).shown(Some(value));
        self.notes
            .add(place, format!("found {found}, expected {expected}"));
        None
    }
}

/// A secret by its reference.
pub(super) fn resolve(place: &Place, value: &Value, notes: &Notes) -> Option<Secret> {
    let ValueKind::String(reference) = &value.kind else {
        let text = format!(
            "found {}, expected a secret: \"env:NAME\", \"file:PATH\" or the text itself",
            kind(value)
        );
        notes.add(place.shown(Some(value)), text);
        return None;
    };
    match Secret::resolve(reference) {
        Ok(secret) => Some(secret),
        Err(error) => {
            notes.add(place.shown(Some(value)), error.to_string());
            None
        }
    }
}

/// The items of a list. The environment has texts only: there commas are between them.
fn items(value: &Value) -> Option<Cow<'_, [Value]>> {
    match &value.kind {
        ValueKind::Array(items) => Some(Cow::Borrowed(items)),
        ValueKind::String(text) if is_from_environment(value) => {
            let origin = value.origin().map(str::to_owned);
            let texts = text.split(',').map(str::trim);
            let items = texts
                .filter(|text| !text.is_empty())
                .map(|text| Value::new(origin.as_ref(), text));
            Some(Cow::Owned(items.collect()))
        }
        _ => None,
    }
}

fn is_from_environment(value: &Value) -> bool {
    value.origin() == Some("the environment")
}

fn kind(value: &Value) -> &'static str {
    match &value.kind {
        ValueKind::Nil => "nothing",
        ValueKind::Boolean(_) => "true or false",
        ValueKind::String(_) => "a text",
        ValueKind::Table(_) => "a table",
        ValueKind::Array(_) => "a list",
        _ => "a number",
    }
}

const MIN_DURATION: Duration = Duration::from_millis(1);
const MAX_DURATION: Duration = Duration::from_secs(365 * 24 * 3600);

//! [`Spot`]: one value of the settings with its place, and how a table is read.
//!
//! [`keys!`] derives the reading of a struct from a list of its keys. The allowed keys of a table are
//! the keys that are read, so the two cannot differ.

use std::cell::RefCell;

use config::{Map, Value, ValueKind};

use super::problem::{Notes, meant};

/// One value, its place, and where its problems are noted.
pub(super) struct Spot<'a> {
    /// The value; [`ValueKind::Nil`] if there is none.
    pub(super) value: &'a ValueKind,
    from_environment: bool,
    /// The place, such as `sources[0].name`.
    keys: String,
    notes: &'a Notes,
    /// The keys of this table that were read, and whether each is allowed.
    read: RefCell<Vec<(&'static str, bool)>>,
}

impl<'a> Spot<'a> {
    /// The root of the tree.
    pub(super) fn root(value: &'a ValueKind, notes: &'a Notes) -> Self {
        Self {
            value,
            from_environment: false,
            keys: String::new(),
            notes,
            read: RefCell::default(),
        }
    }

    /// Reads this table with `take`, then notes the keys that `take` has not read.
    pub(super) fn table<T>(&self, take: impl FnOnce(&Self) -> T) -> Option<T> {
        let ValueKind::Table(map) = self.value else {
            return self.wrong_kind("a table");
        };
        let taken = take(self);
        self.note_unknown(map);
        Some(taken)
    }

    /// Reads a key of this table; `None` if it is absent or its value is wrong.
    pub(super) fn read<T>(
        &self,
        key: &'static str,
        kind: impl FnOnce(&Spot<'a>) -> Option<T>,
    ) -> Option<T> {
        self.read.borrow_mut().push((key, true));
        self.has(key).then(|| kind(&self.at(key)))?
    }

    /// Reads a key that has a default; `None` if its value is wrong.
    pub(super) fn read_or<T>(
        &self,
        key: &'static str,
        kind: impl FnOnce(&Spot<'a>) -> Option<T>,
        default: T,
    ) -> Option<T> {
        let value = self.read(key, kind);
        if self.has(key) { value } else { Some(default) }
    }

    /// Reads the table at a key, if there is one.
    pub(super) fn inside(&self, key: &'static str, take: impl FnOnce(&Spot<'_>)) {
        self.read(key, |spot| spot.table(take));
    }

    /// Reads a key that is required and must not be an empty text. `what` describes it in the error.
    pub(super) fn required<T>(
        &self,
        key: &'static str,
        kind: impl FnOnce(&Spot<'a>) -> Option<T>,
        what: &str,
    ) -> Option<T> {
        let missing = match self.at(key).value {
            ValueKind::Nil => "is missing",
            ValueKind::String(text) if text.is_empty() => "is empty",
            _ => return self.read(key, kind),
        };
        self.note_at(key, format!("{missing}; it is {what}"));
        self.read(key, |_| None)
    }

    /// Skips the keys that `take` would read, because they belong to another kind of table. Notes
    /// `wrong` at those that are present.
    pub(super) fn pass<T>(&self, wrong: Option<&str>, take: impl FnOnce(&Spot<'_>) -> T) {
        let (empty, notes) = (ValueKind::Table(Map::new()), Notes::new(""));
        let other = Spot::root(&empty, &notes);
        take(&other);
        let mut others: Vec<_> = other.read.into_inner();
        let mut read = self.read.borrow_mut();
        others.retain(|(key, _)| read.iter().all(|(known, _)| known != key));
        for (key, _) in others {
            read.push((key, false));
            if let Some(wrong) = wrong.filter(|_| self.has(key)) {
                self.note_at(key, wrong);
            }
        }
    }

    /// Reads each item of a list such as `example`, and notes the problems of all items; `None` if there
    /// is a problem. Environment variables hold only texts, so there commas separate the items.
    pub(super) fn each<T>(
        &self,
        example: &str,
        kind: impl Fn(&Spot<'_>) -> Option<T>,
    ) -> Option<Vec<T>> {
        let texts: Vec<ValueKind>;
        let items: Vec<&ValueKind> = match self.value {
            ValueKind::Array(items) => items.iter().map(|item| &item.kind).collect(),
            ValueKind::String(text) if self.from_environment => {
                let parts = text.split(',').map(str::trim);
                let parts = parts.filter(|part| !part.is_empty());
                texts = parts.map(Into::into).collect();
                texts.iter().collect()
            }
            _ => return self.wrong_kind(&format!("a list: {example}")),
        };
        let items = items.into_iter().enumerate().map(|(index, value)| {
            kind(&Spot {
                from_environment: self.from_environment,
                keys: format!("{}[{index}]", self.keys),
                ..Spot::root(value, self.notes)
            })
        });
        let items: Vec<Option<T>> = items.collect();
        items.into_iter().collect()
    }

    pub(super) fn has(&self, key: &str) -> bool {
        matches!(self.value, ValueKind::Table(map) if map.contains_key(key))
    }

    /// The value at a key of this table.
    pub(super) fn at(&self, key: &str) -> Self {
        let value: Option<&'a Value> = match self.value {
            ValueKind::Table(map) => map.get(key),
            _ => None,
        };
        let origin = value.and_then(Value::origin);
        let keys = match self.keys.as_str() {
            "" => key.to_owned(),
            before => format!("{before}.{key}"),
        };
        let value = value.map_or(&ValueKind::Nil, |value| &value.kind);
        Self {
            from_environment: origin == Some("the environment"),
            keys,
            ..Self::root(value, self.notes)
        }
    }

    /// Notes a problem at a key of this table.
    pub(super) fn note_at(&self, key: &str, text: impl Into<String>) {
        self.at(key).note(text);
    }

    /// Notes a problem at this place.
    pub(super) fn note(&self, text: impl Into<String>) {
        if self.from_environment {
            self.notes.add_override(&self.keys, text);
        } else {
            self.notes.add(&self.keys, text);
        }
    }

    /// Notes that another value was expected, and shows the one found. Not for secrets.
    pub(super) fn wrong<T>(&self, expected: &str) -> Option<T> {
        let found = match self.value {
            ValueKind::String(text) => format!("{text:?}"),
            ValueKind::Boolean(_) | ValueKind::I64(_) | ValueKind::Float(_) => {
                self.value.to_string()
            }
            _ => return self.wrong_kind(expected),
        };
        self.note(format!("found {found}, expected {expected}"));
        None
    }

    /// Notes that another value was expected, and shows only the kind of the one found.
    pub(super) fn wrong_kind<T>(&self, expected: &str) -> Option<T> {
        let found = match self.value {
            ValueKind::Nil => "nothing",
            ValueKind::Boolean(_) => "true or false",
            ValueKind::String(_) => "a text",
            ValueKind::Table(_) => "a table",
            ValueKind::Array(_) => "a list",
            _ => "a number",
        };
        self.note(format!("found {found}, expected {expected}"));
        None
    }

    fn note_unknown(&self, map: &Map<String, Value>) {
        let read = self.read.borrow();
        let mut unknown: Vec<&String> = map.keys().collect();
        unknown.retain(|key| read.iter().all(|(known, _)| known != key));
        unknown.sort_unstable();
        let allowed = read.iter().filter(|(_, allowed)| *allowed);
        let mut allowed: Vec<&str> = allowed.map(|(key, _)| *key).collect();
        allowed.sort_unstable();
        let there_are = allowed.join(", ");
        for key in unknown {
            let text = match meant(key, &allowed) {
                _ if key == "tls" => {
                    "this version has no TLS yet (put a proxy that ends TLS before it)".to_owned()
                }
                Some(meant) => format!("unknown key, did you mean {meant}? There are: {there_are}"),
                None => format!("unknown key; there are: {there_are}"),
            };
            self.note_at(key, text);
        }
    }
}

/// A struct whose fields are keys of a table; see [`keys!`].
pub(super) trait Keys {
    /// Sets the fields whose keys are present. The other fields stay unchanged.
    fn fill(&mut self, table: &Spot<'_>);
}

/// Derives [`Keys`]: `keys!(Type { key: kind, key: kind => "what it is", … })`. Each key sets the field
/// of its name. Its kind (see `kinds.rs`) says how the value is written and limited. A required key has
/// a description.
macro_rules! keys {
    ($type:ty { $($key:ident: $kind:expr $(=> $what:literal)?),* $(,)? }) => {
        impl $crate::settings::spot::Keys for $type {
            fn fill(&mut self, table: &$crate::settings::spot::Spot<'_>) {
                $(
                    let value = $crate::settings::spot::keys!(@read table $key $kind $(=> $what)?);
                    if let Some(value) = value {
                        self.$key = value;
                    }
                )*
            }
        }
    };
    (@read $table:ident $key:ident $kind:expr) => {
        $table.read(stringify!($key), $kind)
    };
    (@read $table:ident $key:ident $kind:expr => $what:literal) => {
        $table.required(stringify!($key), $kind, $what)
    };
}

pub(super) use keys;

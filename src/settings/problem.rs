//! [`Notes`]: everything that is wrong with the settings, and where.

use std::cell::RefCell;

use crate::error::{Problem, Problems};

/// Where problems are noted while the settings are read and judged.
#[derive(Debug)]
pub(super) struct Notes {
    /// What the settings are read from, as people know it.
    file: String,
    notes: RefCell<Vec<Note>>,
}

#[derive(Debug)]
struct Note {
    /// The first of its keys.
    section: String,
    problem: Problem,
}

impl Notes {
    pub(super) fn new(file: &str) -> Self {
        Self {
            file: file.to_owned(),
            notes: RefCell::default(),
        }
    }

    /// Notes what is wrong at keys such as `sources[0].name`; at the file itself where they are empty.
    pub(super) fn add(&self, keys: &str, text: impl Into<String>) {
        let place = match keys {
            "" => self.file.clone(),
            keys => format!("{}: {keys}", self.file),
        };
        self.push(keys, place, text.into());
    }

    /// Notes what is wrong with a value that the environment has set.
    pub(super) fn add_override(&self, keys: &str, text: impl Into<String>) {
        // An item of a list has the variable of its list.
        let list = keys.split('[').next().unwrap_or_default();
        let variable = list.to_ascii_uppercase().replace('.', "__");
        let place = format!("environment variable OFFHOOK__{variable}");
        self.push(keys, place, text.into());
    }

    /// Notes what is wrong with a variable of the environment that is no override.
    pub(super) fn add_variable(&self, name: &str, text: impl Into<String>) {
        self.push("", format!("environment variable {name}"), text.into());
    }

    fn push(&self, keys: &str, place: String, text: String) {
        let section = keys.split(['.', '[']).next().unwrap_or_default();
        let section = section.to_owned();
        let problem = Problem { place, text };
        self.notes.borrow_mut().push(Note { section, problem });
    }

    /// These notes and those on the whole of the settings, but for sections in which something is
    /// wrong already: what could not be read there would only be missed again.
    pub(super) fn and(self, whole: Self) -> Self {
        let mut notes = self.notes.into_inner();
        let sections: Vec<_> = notes.iter().map(|note| note.section.clone()).collect();
        let mut more = whole.notes.into_inner();
        more.retain(|note| !sections.contains(&note.section));
        notes.append(&mut more);
        Self {
            file: self.file,
            notes: RefCell::new(notes),
        }
    }

    /// Ok when nothing was noted.
    pub(super) fn into_result(self) -> Result<(), Problems> {
        let notes = self.notes.into_inner().into_iter();
        let problems: Vec<Problem> = notes.map(|note| note.problem).collect();
        if problems.is_empty() {
            Ok(())
        } else {
            Err(Problems::of(problems))
        }
    }
}

/// The one of `known` that `found` was probably meant to be: at most one letter of three is wrong.
pub(super) fn meant<'a>(found: &str, known: &[&'a str]) -> Option<&'a str> {
    let wrong = |name: &str| strsim::damerau_levenshtein(found, name);
    let nearest = known.iter().min_by_key(|name| wrong(name))?;
    (wrong(nearest) * 3 <= found.chars().count()).then_some(*nearest)
}

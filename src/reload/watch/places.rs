//! [`places`]: which folders decide what a path leads to.

use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

/// The folders that decide what a path leads to, each with the name that counts in it. Where it is only a step on
/// the way, without one: it must not go itself.
pub(super) fn places(path: &Path) -> Vec<(PathBuf, Option<OsString>)> {
    let mut places = Vec::new();
    let mut rest: Vec<OsString> = names(path);
    rest.reverse();
    let (mut at, mut links) = (PathBuf::from("/"), 0);
    while let Some(name) = rest.pop() {
        if name == ".." {
            at.pop();
            continue;
        }
        let next = at.join(&name);
        let is_last = rest.is_empty();
        match std::fs::read_link(&next) {
            Ok(target) if links < MOST_LINKS => {
                links += 1;
                places.push((at.clone(), Some(name)));
                if target.is_absolute() {
                    at = PathBuf::from("/");
                }
                rest.extend(names(&target).into_iter().rev());
            }
            _ if is_last || std::fs::symlink_metadata(&next).is_err() => {
                places.push((at, Some(name)));
                break;
            }
            _ => places.push((std::mem::replace(&mut at, next), None)),
        }
    }
    places
}

/// The names that a path consists of.
fn names(path: &Path) -> Vec<OsString> {
    let names = path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    });
    names.collect()
}

/// So many links are followed, as by the system.
const MOST_LINKS: usize = 40;

//! The pages: links lead somewhere, commands can be pasted, and the walks of ARCHITECTURE.md name files and
//! functions that exist.

mod readme;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every page that is written by hand or by the benchmark.
fn pages() -> Vec<PathBuf> {
    let mut pages = Vec::new();
    let mut folders = vec![root().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && (path.ends_with("docs") || folder.starts_with(root().join("docs")))
            {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "md") {
                pages.push(path);
            }
        }
    }
    assert!(pages.len() > 20, "{pages:?}");
    pages
}

/// The text without its blocks of code.
fn prose(text: &str) -> String {
    let mut in_code = false;
    let lines = text.lines().filter(|line| {
        let fence = line.trim_start().starts_with("```");
        in_code ^= fence;
        !fence && !in_code
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// The targets of all links in a text.
fn links(text: &str) -> impl Iterator<Item = &str> {
    let links = text.split("](").skip(1);
    links.filter_map(|rest| rest.split_once(')').map(|(target, _)| target))
}

/// The anchors of a page, as GitHub makes them of its headings.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    let anchor = |heading: &str| {
        let words = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = words.chars().filter_map(|letter| match letter {
            ' ' => Some('-'),
            '-' | '_' => Some(letter),
            letter => letter.is_alphanumeric().then_some(letter),
        });
        kept.collect()
    };
    headings.map(anchor).collect()
}

#[test]
fn every_link_leads_somewhere() {
    let mut wrong = Vec::new();
    for page in pages() {
        let text = prose(&read(&page));
        for link in links(&text).filter(|link| !link.contains("://")) {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() {
                page.clone()
            } else {
                page.parent().unwrap().join(file)
            };
            let found = target.exists()
                && (anchor.is_empty() || anchors(&prose(&read(&target))).contains(anchor));
            if !found {
                wrong.push(format!("{}: {link}", page.display()));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "links that lead nowhere:\n{}",
        wrong.join("\n")
    );
}

/// The blocks of shell commands in a text.
fn shell_blocks(text: &str) -> Vec<String> {
    blocks(text, &["sh", "bash", "zsh", "shell", "console"])
}

/// The blocks of code in one of these languages.
fn blocks(text: &str, languages: &[&str]) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut fence = None;
    for line in text.lines() {
        let is_fence = line.trim_start().starts_with("```");
        match (&mut fence, is_fence) {
            (None, true) => {
                let language = line.trim_start().trim_start_matches('`');
                fence = Some((language.to_owned(), String::new()));
            }
            (Some((language, block)), true) => {
                if languages.contains(&language.as_str()) {
                    blocks.push(std::mem::take(block));
                }
                fence = None;
            }
            (Some((_, block)), false) => *block = format!("{block}{line}\n"),
            (None, false) => {}
        }
    }
    blocks
}

/// What stands outside of quotes in a block, without escaped characters.
fn unquoted(block: &str) -> String {
    let (mut bare, mut quote) = (String::new(), None);
    let mut characters = block.chars();
    while let Some(character) = characters.next() {
        match (quote, character) {
            (None, '\\') | (Some('"'), '\\') => drop(characters.next()),
            (None, '\'' | '"') => quote = Some(character),
            (Some(open), _) if open == character => quote = None,
            (None, _) => bare.push(character),
            _ => {}
        }
    }
    assert_eq!(quote, None, "a quote is open at the end of:\n{block}");
    bare
}

/// In zsh a `#` on a command line is a word, and `?`, `*` and `[` without a match are an error.
#[test]
fn commands_can_be_pasted_into_any_shell() {
    let mut count = 0;
    for page in pages() {
        for block in shell_blocks(&read(&page)) {
            let page = page.display();
            let bare = unquoted(&block);
            let odd: Vec<char> = bare
                .chars()
                .filter(|one| "#*?[]!~^".contains(*one))
                .collect();
            assert!(
                odd.is_empty(),
                "{page}: {odd:?} outside of quotes in:\n{block}"
            );
            for line in block.lines() {
                let prompt = line.starts_with(['$', '%', '>']);
                assert!(!prompt && !line.is_empty(), "{page}: {line:?} in:\n{block}");
            }
            count += 1;
        }
    }
    assert!(count > 20, "{count}");
}

/// The step of a walk: its file, and the functions that it names.
fn step(line: &str) -> Option<(&str, Vec<&str>)> {
    let (number, rest) = line.split_once(". `")?;
    number.parse::<u32>().ok()?;
    let (named, _) = rest.split_once(" - ")?;
    let mut names = named.split('`').step_by(2);
    let file = names.next()?;
    Some((file, names.filter(|name| !name.is_empty()).collect()))
}

#[test]
fn walks_name_what_exists() {
    let text = read(&root().join("ARCHITECTURE.md"));
    let (_, walks) = text.split_once("## Walks").unwrap();
    let steps: Vec<_> = walks.lines().filter_map(step).collect();
    assert!(steps.len() > 40, "{steps:?}");
    let mut wrong = Vec::new();
    for (file, functions) in steps {
        let below = if file.starts_with("handlers/") {
            ""
        } else {
            "src"
        };
        let path = root().join(below).join(file);
        let code = std::fs::read_to_string(&path).unwrap_or_default();
        for function in functions {
            let name = function.rsplit("::").next().unwrap_or(function);
            let is_there = [format!("fn {name}("), format!("fn {name}<")];
            if !is_there.iter().any(|start| code.contains(start)) {
                wrong.push(format!("{file}: {function}"));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "not in these files:\n{}",
        wrong.join("\n")
    );
}

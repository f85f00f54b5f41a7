//! The structure of `src/`: no cycle among its files or its rooms, and few rooms.
//!
//! The test reads every file as the compiler does and follows each path to the file that defines what it
//! names, through what is passed on by `pub use`. A room is what stands directly below `src/`. Code of
//! unit tests is not looked at.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use syn::visit::Visit;

type Graph = BTreeMap<String, BTreeSet<String>>;

/// One file of `src/`: the module it is, and the names that it defines or passes on.
#[derive(Default)]
struct File {
    module: Vec<String>,
    /// Names that are defined here.
    items: BTreeSet<String>,
    /// Names that a `use` brings into this module, with the full path of each.
    uses: BTreeMap<String, Vec<String>>,
    /// All paths that the code names, made absolute. A `pub use` of a module below is not one of them.
    paths: Vec<Vec<String>>,
}

struct Source {
    /// By the name of the file below `src/`.
    files: BTreeMap<String, File>,
    /// The file of each module.
    modules: BTreeMap<Vec<String>, String>,
}

impl Source {
    fn read(src: &Path) -> Self {
        let mut source = Self {
            files: BTreeMap::new(),
            modules: BTreeMap::new(),
        };
        source.add(src, &src.join("lib.rs"), &[]);
        source
    }

    /// Reads a file and the files of the modules that it declares.
    fn add(&mut self, src: &Path, path: &Path, module: &[String]) {
        let text =
            std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let syntax = syn::parse_file(&text).unwrap();
        let mut file = File {
            module: module.to_vec(),
            ..File::default()
        };
        let below = match path.file_stem().unwrap().to_str().unwrap() {
            "lib" | "mod" => path.parent().unwrap().to_owned(),
            stem => path.parent().unwrap().join(stem),
        };
        let mut children = Vec::new();
        Reader {
            file: &mut file,
            children: &mut children,
        }
        .visit_file(&syntax);
        let name = path.strip_prefix(src).unwrap().display().to_string();
        self.modules.insert(module.to_vec(), name.clone());
        self.files.insert(name, file);
        for child in children {
            let one = below.join(format!("{child}.rs"));
            let path: PathBuf = if one.exists() {
                one
            } else {
                below.join(&child).join("mod.rs")
            };
            let module = [module, &[child]].concat();
            self.add(src, &path, &module);
        }
    }

    /// Which file names something of which other.
    fn imports(&self) -> Graph {
        let edges = self.files.iter().map(|(name, file)| {
            let named = file.paths.iter().filter_map(|path| self.home(path, 0));
            (name.clone(), named.filter(|other| other != name).collect())
        });
        edges.collect()
    }

    /// The file that defines what a path names.
    fn home(&self, path: &[String], depth: usize) -> Option<String> {
        let module = (0..=path.len())
            .rev()
            .find(|end| self.modules.contains_key(&path[..*end]))?;
        let name = &self.modules[&path[..module]];
        let file = &self.files[name];
        let Some(item) = path.get(module) else {
            return Some(name.clone());
        };
        if file.items.contains(item) || depth > 8 {
            return Some(name.clone());
        }
        match file.uses.get(item) {
            Some(passed_on) => {
                let mut path_of = passed_on.clone();
                path_of.extend_from_slice(&path[module + 1..]);
                // `None` for what another crate defines.
                self.home(&path_of, depth + 1)
            }
            None if module == 0 => None,
            None => Some(name.clone()),
        }
    }
}

struct Reader<'a> {
    file: &'a mut File,
    children: &'a mut Vec<String>,
}

impl Reader<'_> {
    /// The path from the crate's root; `None` for a path into another crate.
    fn absolute(&self, path: &[String]) -> Option<Vec<String>> {
        let mut module = self.file.module.clone();
        let mut rest = path;
        match path.first()?.as_str() {
            "crate" => {
                module.clear();
                rest = &path[1..];
            }
            "self" => rest = &path[1..],
            "super" => {
                while rest.first().is_some_and(|first| first == "super") {
                    module.pop();
                    rest = &rest[1..];
                }
            }
            // A module declared in this file, which a path may begin with.
            first if self.children.iter().any(|child| child == first) => {}
            _ => return None,
        }
        module.extend_from_slice(rest);
        Some(module)
    }

    fn use_tree(&mut self, tree: &syn::UseTree, before: &[String], passes_on: bool) {
        match tree {
            syn::UseTree::Path(path) => {
                let before = [before, &[path.ident.to_string()]].concat();
                self.use_tree(&path.tree, &before, passes_on);
            }
            syn::UseTree::Group(group) => {
                for tree in &group.items {
                    self.use_tree(tree, before, passes_on);
                }
            }
            syn::UseTree::Name(name) => self.used(&name.ident, &name.ident, before, passes_on),
            syn::UseTree::Rename(name) => self.used(&name.ident, &name.rename, before, passes_on),
            syn::UseTree::Glob(_) => {
                if let Some(path) = self.absolute(before) {
                    self.file.paths.push(path);
                }
            }
        }
    }

    fn used(
        &mut self,
        name: &syn::Ident,
        known_as: &syn::Ident,
        before: &[String],
        passes_on: bool,
    ) {
        let path = if name == "self" {
            before.to_vec()
        } else {
            [before, &[name.to_string()]].concat()
        };
        let Some(absolute) = self.absolute(&path) else {
            return;
        };
        let key = if known_as == "self" {
            before.last().cloned().unwrap_or_default()
        } else {
            known_as.to_string()
        };
        self.file.uses.insert(key, absolute.clone());
        let below =
            absolute.len() > self.file.module.len() && absolute.starts_with(&self.file.module);
        if !(passes_on && below) {
            self.file.paths.push(absolute);
        }
    }
}

fn is_test(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let syn::Meta::List(list) = &attribute.meta else {
            return false;
        };
        list.path.is_ident("cfg") && list.tokens.to_string() == "test"
    })
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_file(&mut self, file: &'ast syn::File) {
        for item in &file.items {
            if let syn::Item::Mod(module) = item
                && module.content.is_none()
                && !is_test(&module.attrs)
            {
                self.children.push(module.ident.to_string());
            }
        }
        syn::visit::visit_file(self, file);
    }

    fn visit_item(&mut self, item: &'ast syn::Item) {
        let (attributes, name) = match item {
            syn::Item::Mod(item) => (&item.attrs, None),
            syn::Item::Const(item) => (&item.attrs, Some(&item.ident)),
            syn::Item::Enum(item) => (&item.attrs, Some(&item.ident)),
            syn::Item::Fn(item) => (&item.attrs, Some(&item.sig.ident)),
            syn::Item::Static(item) => (&item.attrs, Some(&item.ident)),
            syn::Item::Struct(item) => (&item.attrs, Some(&item.ident)),
            syn::Item::Trait(item) => (&item.attrs, Some(&item.ident)),
            syn::Item::Type(item) => (&item.attrs, Some(&item.ident)),
            syn::Item::Macro(item) => (&item.attrs, item.ident.as_ref()),
            syn::Item::Impl(item) => (&item.attrs, None),
            syn::Item::Use(item) => (&item.attrs, None),
            _ => return syn::visit::visit_item(self, item),
        };
        if is_test(attributes) {
            return;
        }
        self.file.items.extend(name.map(ToString::to_string));
        syn::visit::visit_item(self, item);
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        let passes_on = !matches!(item.vis, syn::Visibility::Inherited);
        self.use_tree(&item.tree, &[], passes_on);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names: Vec<String> = path
            .segments
            .iter()
            .map(|one| one.ident.to_string())
            .collect();
        if names.len() > 1
            && let Some(absolute) = self.absolute(&names)
        {
            self.file.paths.push(absolute);
        }
        syn::visit::visit_path(self, path);
    }
}

/// The same graph with the folders and files directly below `src/` as its nodes.
fn rooms(files: &Graph) -> Graph {
    let room = |file: &str| {
        file.split('/')
            .next()
            .unwrap_or(file)
            .trim_end_matches(".rs")
            .to_owned()
    };
    let mut rooms = Graph::new();
    for (file, others) in files {
        let here = room(file);
        if here == "lib" {
            continue;
        }
        let others = others
            .iter()
            .map(|other| room(other))
            .filter(|other| *other != here);
        rooms.entry(here.clone()).or_default().extend(others);
    }
    rooms
}

/// The strongly connected parts with more than one node, by repeated search: small graphs only.
fn cycles(graph: &Graph) -> Vec<BTreeSet<String>> {
    let reach: BTreeMap<&String, BTreeSet<&String>> = graph
        .keys()
        .map(|node| (node, reachable(graph, node)))
        .collect();
    let mut found: Vec<BTreeSet<String>> = Vec::new();
    for node in graph.keys() {
        if found.iter().any(|cycle| cycle.contains(node)) || !reach[node].contains(node) {
            continue;
        }
        let both_ways = reach[node]
            .iter()
            .filter(|other| reach.get(**other).is_some_and(|back| back.contains(node)));
        found.push(both_ways.map(|other| (*other).clone()).collect());
    }
    found
}

fn reachable<'a>(graph: &'a Graph, from: &str) -> BTreeSet<&'a String> {
    let mut seen = BTreeSet::new();
    let mut next: Vec<&String> = graph[from].iter().collect();
    while let Some(node) = next.pop() {
        if seen.insert(node) {
            next.extend(graph.get(node).into_iter().flatten());
        }
    }
    seen
}

/// The arrows within a cycle, a line each.
fn describe(graph: &Graph, cycle: &BTreeSet<String>) -> String {
    let mut lines = String::new();
    for node in cycle {
        let inside: Vec<_> = graph[node]
            .iter()
            .filter(|other| cycle.contains(*other))
            .map(String::as_str)
            .collect();
        lines += &format!("\n  {node} -> {}", inside.join(", "));
    }
    lines
}

fn source() -> Graph {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let imports = Source::read(&src).imports();
    // Imports that are there are found, also those through a `pub use`.
    let found = &imports["server/public.rs"];
    for file in ["server/connection.rs", "ingress/receive.rs"] {
        assert!(found.contains(file), "{file} is not among {found:?}");
    }
    imports
}

#[test]
fn no_file_depends_on_itself() {
    let imports = source();
    let found: Vec<String> = cycles(&imports)
        .iter()
        .map(|cycle| describe(&imports, cycle))
        .collect();
    assert!(found.is_empty(), "cycles among files:{}", found.join("\n"));
}

#[test]
fn no_room_depends_on_itself() {
    let rooms = rooms(&source());
    let found: Vec<String> = cycles(&rooms)
        .iter()
        .map(|cycle| describe(&rooms, cycle))
        .collect();
    assert!(found.is_empty(), "cycles among rooms:{}", found.join("\n"));
    // With lib.rs, and with main.rs and cli/ that are not of the library.
    assert!(rooms.len() + 3 <= MOST_ROOMS, "{:?}", rooms.keys());
}

#[test]
fn a_cycle_is_found_and_shown() {
    let arrows = [("a", "b"), ("b", "c"), ("c", "b"), ("c", "d"), ("d", "d")];
    let mut graph = Graph::new();
    for (from, to) in arrows {
        graph
            .entry(from.to_owned())
            .or_default()
            .insert(to.to_owned());
    }
    let found: Vec<String> = cycles(&graph)
        .iter()
        .map(|cycle| describe(&graph, cycle))
        .collect();
    assert_eq!(found, ["\n  b -> c\n  c -> b", "\n  d -> d"]);
}

/// With more rooms a reader does not know where to look.
const MOST_ROOMS: usize = 22;

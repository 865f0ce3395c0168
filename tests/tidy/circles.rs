//! No circles: no two files of the runtime need each other, directly or through others, except for a file and those in
//! its directory. So each file can be read after those that it imports, and tried without those that import it.
//!
//! A file and its directory are one node among its neighbours: what a file in the directory imports from outside, the
//! whole imports. Without that, a circle that enters through a file and leaves through one in its directory would not
//! be seen.
//!
//! An import is a path: in a `use`, in code, or in a macro. A path that leads to a name which a file only passes on
//! (`pub use self::child::Name`) counts as an import of the file that defines it. Unit tests are not looked at.

use std::collections::{BTreeMap, BTreeSet};

use syn::visit::{self, Visit};
use syn::{Item, UseTree};

use crate::sources::{Source, assert_none, ending_in};

/// Where a file stands in the tree of modules: `storage/sql.rs` is `["storage", "sql"]`.
type Module = Vec<String>;

/// What the rule needs to know of a file.
#[derive(Default)]
struct File {
    /// Names that it defines.
    defined: BTreeSet<String>,
    /// Names that it brings in by `use`, with the whole path of each.
    used: BTreeMap<String, Module>,
    /// Paths of the crate that it names anywhere, as they are written.
    named: BTreeSet<Module>,
}

type Files = BTreeMap<Module, File>;
type Graph = BTreeMap<Module, BTreeSet<Module>>;

/// Reads the files of one crate. `root` is the path of its sources.
fn read(sources: &[Source], root: &str) -> Files {
    let mut files = Files::new();
    for source in sources {
        let Some(path) = source.path.strip_prefix(root).and_then(|path| path.strip_suffix(".rs")) else { continue };
        let module: Module = path.split('/').map(str::to_owned).collect();
        let is_root = ["main", "lib"].contains(&path);
        if is_root || module.iter().any(|part| part == "tests") {
            continue;
        }
        let syntax = syn::parse_file(&source.text).unwrap_or_else(|error| panic!("{}: {error}", source.path));
        let mut reader = Reader { module: module.clone(), file: File::default() };
        reader.visit_file(&syntax);
        files.insert(module, reader.file);
    }
    files
}

struct Reader {
    module: Module,
    file: File,
}

impl Reader {
    /// The paths that one `use` brings in, each with the name that it has here.
    fn read_use(&mut self, before: &[String], tree: &UseTree) {
        let with = |name: &dyn ToString| [before, &[name.to_string()]].concat();
        match tree {
            UseTree::Path(path) => self.read_use(&with(&path.ident), &path.tree),
            UseTree::Name(name) if name.ident == "self" => self.used(before.last().cloned(), before.to_vec()),
            UseTree::Name(name) => self.used(Some(name.ident.to_string()), with(&name.ident)),
            UseTree::Rename(rename) => self.used(Some(rename.rename.to_string()), with(&rename.ident)),
            UseTree::Glob(_) => self.used(None, before.to_vec()),
            UseTree::Group(group) => group.items.iter().for_each(|tree| self.read_use(before, tree)),
        }
    }

    fn used(&mut self, name: Option<String>, path: Module) {
        if let (Some(name), Some(path)) = (name, from_the_root(&self.module, &path)) {
            self.file.used.insert(name, path);
        }
        self.file.named.insert(path);
    }
}

impl<'a> Visit<'a> for Reader {
    fn visit_item(&mut self, item: &'a Item) {
        let (attributes, name) = match item {
            Item::Mod(item) => (&item.attrs, Some(&item.ident)),
            Item::Struct(item) => (&item.attrs, Some(&item.ident)),
            Item::Enum(item) => (&item.attrs, Some(&item.ident)),
            Item::Trait(item) => (&item.attrs, Some(&item.ident)),
            Item::Type(item) => (&item.attrs, Some(&item.ident)),
            Item::Const(item) => (&item.attrs, Some(&item.ident)),
            Item::Static(item) => (&item.attrs, Some(&item.ident)),
            Item::Fn(item) => (&item.attrs, Some(&item.sig.ident)),
            Item::Use(item) => (&item.attrs, None),
            Item::Impl(item) => (&item.attrs, None),
            _ => return visit::visit_item(self, item),
        };
        let is_of_tests = |attribute: &syn::Attribute| {
            attribute.path().is_ident("cfg") && attribute.parse_args::<syn::Path>().is_ok_and(|on| on.is_ident("test"))
        };
        if attributes.iter().any(is_of_tests) {
            return;
        }
        // A module in a file of its own is not defined here.
        if !matches!(item, Item::Mod(module) if module.content.is_none()) {
            self.file.defined.extend(name.map(ToString::to_string));
        }
        visit::visit_item(self, item);
    }

    fn visit_item_use(&mut self, item: &'a syn::ItemUse) {
        self.read_use(&[], &item.tree);
    }

    fn visit_path(&mut self, path: &'a syn::Path) {
        self.file.named.insert(path.segments.iter().map(|segment| segment.ident.to_string()).collect());
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, called: &'a syn::Macro) {
        visit::visit_macro(self, called);
        let text = called.tokens.to_string().replace(" :: ", "::");
        let is_of_paths = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
        for path in text.split(|c| !is_of_paths(c)).filter(|path| path.contains("::")) {
            self.file.named.insert(path.split("::").map(str::to_owned).collect());
        }
    }
}

/// A path from the root of the crate, if it says where it begins.
fn from_the_root(module: &Module, path: &[String]) -> Option<Module> {
    let ups = path.iter().take_while(|part| *part == "super").count();
    match path.first()?.as_str() {
        "crate" => Some(path[1..].to_vec()),
        "self" => Some([module, &path[1..]].concat()),
        "super" => Some([&module[..module.len().checked_sub(ups)?], &path[ups..]].concat()),
        _ => None,
    }
}

/// The file that defines what a path leads to.
fn defining(files: &Files, path: &[String], depth: usize) -> Option<Module> {
    let at = (1..=path.len()).rev().find(|end| files.contains_key(&path[..*end]))?;
    let (module, rest) = path.split_at(at);
    let file = &files[module];
    match rest.first() {
        Some(name) if depth < 8 && !file.defined.contains(name) => match file.used.get(name) {
            Some(elsewhere) => defining(files, &[elsewhere, &rest[1..]].concat(), depth + 1),
            None => Some(module.to_vec()),
        },
        _ => Some(module.to_vec()),
    }
}

/// Which file imports which, each as the neighbour of the other that it belongs to. A file and those in its directory
/// belong together.
fn graph(files: &Files) -> Graph {
    let imports = |module: &Module, file: &File| {
        let whole = |path: &Module| {
            let first = path.first()?;
            let by_use = || file.used.get(first).map(|used| [used, &path[1..]].concat());
            let by_child = || files.contains_key(&[module, &path[..1]].concat()).then(|| [&module[..], path].concat());
            from_the_root(module, path).or_else(by_use).or_else(by_child)
        };
        let targets = file.named.iter().filter_map(whole).filter_map(|path| defining(files, &path, 0));
        targets.collect::<BTreeSet<_>>()
    };
    let mut graph = Graph::new();
    for (module, file) in files {
        for target in imports(module, file) {
            if target.starts_with(module) || module.starts_with(&target) {
                continue;
            }
            let common = module.iter().zip(&target).take_while(|(a, b)| a == b).count();
            let [from, to] = [module, &target].map(|path| path[..=common].to_vec());
            graph.entry(to.clone()).or_default();
            graph.entry(from).or_default().insert(to);
        }
    }
    graph
}

/// Every file that can be reached from `from`.
fn reached(graph: &Graph, from: &Module) -> BTreeSet<Module> {
    let (mut reached, mut next) = (BTreeSet::new(), vec![from]);
    while let Some(module) = next.pop() {
        next.extend(graph[module].iter().filter(|target| reached.insert((*target).clone())));
    }
    reached
}

/// One line for each set of files that all need each other, with the imports between them.
fn violations(files: &Files) -> Vec<String> {
    let graph = graph(files);
    let reached: Graph = graph.keys().map(|module| (module.clone(), reached(&graph, module))).collect();
    let mut circles = BTreeSet::new();
    for (module, reaches) in &reached {
        let circle: BTreeSet<&Module> = reaches.iter().filter(|other| reached[*other].contains(module)).collect();
        circles.insert(circle);
    }
    let imports = |circle: &BTreeSet<&Module>| {
        let within = circle.iter().flat_map(|from| {
            let targets = graph[*from].iter().filter(|target| circle.contains(target));
            targets.map(|target| format!("{} → {}", from.join("/"), target.join("/")))
        });
        within.collect::<Vec<_>>().join(", ")
    };
    circles.iter().filter(|circle| !circle.is_empty()).map(imports).collect()
}

#[test]
fn no_files_need_each_other() {
    assert_none(violations(&read(&ending_in(".rs"), "runtime/src/")));
}

#[test]
fn circles_are_found() {
    let check = |texts: &[(&str, &str)]| {
        let source = |(path, text): &(&str, &str)| Source { path: format!("runtime/src/{path}"), text: (*text).into() };
        let files = read(&texts.iter().map(source).collect::<Vec<_>>(), "runtime/src/");
        violations(&files)
    };
    let parent = ("a.rs", "mod b; mod c; pub use self::b::B; pub use self::c::{C, C as D};");
    for (b, c) in [
        ("use super::c::C; struct B;", "use super::b::B; struct C;"),
        ("use super::C; struct B;", "use super::B; struct C;"),
        ("struct B(crate::a::D);", "struct C; fn f() { super::b::g() }"),
        ("use super::c; struct B(c::C);", "struct C; fn f() { println!(\"{}\", super::B::X) }"),
        ("use super::*; use super::c::{self, C}; struct B;", "struct C; impl C { fn f(_: crate::a::b::B) {} }"),
    ] {
        let found = check(&[parent, ("a/b.rs", b), ("a/c.rs", c)]);
        assert_eq!(found, ["a/b → a/c, a/c → a/b"], "{b} {c}");
    }
    let around = [
        ("a.rs", "use crate::b::B; struct A;"),
        ("b.rs", "use crate::c::C; struct B;"),
        ("c.rs", "use crate::a::A; struct C;"),
    ];
    assert_eq!(check(&around), ["a → b, b → c, c → a"]);
    let through_a_child = [
        ("a.rs", "mod b; use crate::d::D; struct A;"),
        ("a/b.rs", "struct B;"),
        ("d.rs", "use crate::a::b::B; struct D;"),
    ];
    assert_eq!(check(&through_a_child), ["a → d, d → a"]);
    for (b, c) in [
        ("use super::C; struct B;", "struct C;"),
        ("use super::C; struct B;", "struct C; #[cfg(test)] mod tests { use super::super::b::B; }"),
        ("use super::C; struct B;", "// super::b::B\nstruct C; const TEXT: &str = \"super::b::B\";"),
        ("struct B; fn f(_: super::A) {}", "struct C; fn f(_: super::A) {}"),
    ] {
        assert_eq!(check(&[parent, ("a/b.rs", b), ("a/c.rs", c)]), Vec::<String>::new(), "{b} {c}");
    }
}

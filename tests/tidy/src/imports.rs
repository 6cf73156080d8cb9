//! Which file of a crate uses which.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use crate::modules::{self, Module, Modules};

/// The files of a crate, from the folder of its sources, each with those that it uses.
///
/// A name that a file passes on (`pub use`) without using it is no arrow; who uses it there, uses the
/// file that defines it.
#[derive(Debug)]
pub struct Imports {
    /// For each file the files that it uses, and the names by which it does.
    pub arrows: BTreeMap<String, BTreeMap<String, BTreeSet<String>>>,
}

impl Imports {
    /// Reads the crate whose `lib.rs` is in this folder.
    ///
    /// # Errors
    /// A file can't be read, or is no Rust.
    pub fn read(sources: &Path) -> io::Result<Self> {
        let modules = modules::read(sources)?;
        let mut arrows: BTreeMap<String, BTreeMap<String, BTreeSet<String>>> = BTreeMap::new();
        for (name, module) in &modules {
            let to = arrows.entry(module.file.clone()).or_default();
            let imported = module
                .names
                .iter()
                .filter(|(name, _)| !module.passed_on.contains(*name))
                .map(|(_, path)| path);
            let globs = module.globs.iter();
            for path in imported.chain(globs).chain(&module.paths) {
                let found = resolve(&modules, name, path, 0);
                if let Some(file) = found.filter(|file| *file != module.file) {
                    to.entry(file).or_default().insert(path.join("::"));
                }
            }
        }
        Ok(Self { arrows })
    }

    /// Groups of files that use each other in a circle, the largest first.
    #[must_use]
    pub fn circles(&self) -> Vec<Vec<&str>> {
        let reached: BTreeMap<_, _> =
            self.arrows.keys().map(|file| (file.as_str(), self.reach(file))).collect();
        let mut circles = BTreeSet::new();
        for (file, from_here) in &reached {
            let circle: Vec<_> =
                from_here.iter().copied().filter(|other| reached[other].contains(file)).collect();
            if circle.len() > 1 {
                circles.insert(circle);
            }
        }
        let mut circles: Vec<_> = circles.into_iter().collect();
        circles.sort_by_key(|circle| std::cmp::Reverse(circle.len()));
        circles
    }

    fn reach(&self, file: &str) -> BTreeSet<&str> {
        let mut reached = BTreeSet::new();
        let mut next: Vec<&str> =
            self.arrows.get_key_value(file).map(|(file, _)| file.as_str()).into_iter().collect();
        while let Some(file) = next.pop() {
            for to in self.arrows.get(file).into_iter().flat_map(BTreeMap::keys) {
                if reached.insert(to.as_str()) {
                    next.push(to);
                }
            }
        }
        reached
    }
}

/// The file that defines what `path` leads to, seen from the module `from`; none outside the crate.
///
/// A path that ends at a module is no use of it: what is used there is written with another path.
fn resolve(modules: &Modules, from: &[String], path: &[String], depth: usize) -> Option<String> {
    // Names that stand for each other in a circle lead nowhere.
    if depth > 8 {
        return None;
    }
    let (mut at, mut rest) = start(modules, from, path)?;
    loop {
        let module = modules.get(&at)?;
        let [first, tail @ ..] = rest.as_slice() else { return None };
        if module.submodules.contains(first) && !(tail.is_empty() && module.defined.contains(first)) {
            at.push(first.clone());
            rest = tail.to_vec();
            continue;
        }
        if module.defined.contains(first) {
            return Some(module.file.clone());
        }
        if let Some(stands_for) = module.names.get(first) {
            let whole: Vec<_> = stands_for.iter().chain(tail).cloned().collect();
            return resolve(modules, &at, &whole, depth + 1);
        }
        let found = by_glob(modules, &at, module, &rest, depth);
        // What is not written there was made by a macro.
        let is_a_path = at != from || depth > 0 || path.first().is_some_and(|first| first == "self");
        return found.or_else(|| is_a_path.then(|| module.file.clone()));
    }
}

/// Where a path begins, and what is left of it.
fn start(modules: &Modules, from: &[String], path: &[String]) -> Option<(Vec<String>, Vec<String>)> {
    let mut rest = path;
    let mut at = from.to_vec();
    match rest.first()?.as_str() {
        "crate" => {
            at.clear();
            rest = &rest[1..];
        }
        "self" => rest = &rest[1..],
        "super" => {
            while rest.first().is_some_and(|segment| segment == "super") {
                at.pop()?;
                rest = &rest[1..];
            }
        }
        first => {
            let module = modules.get(from)?;
            let known = module.submodules.contains(first) || module.names.contains_key(first);
            if !known && module.globs.is_empty() {
                return None;
            }
        }
    }
    Some((at, rest.to_vec()))
}

fn by_glob(
    modules: &Modules,
    at: &[String],
    module: &Module,
    rest: &[String],
    depth: usize,
) -> Option<String> {
    module.globs.iter().find_map(|glob| {
        let whole: Vec<_> = glob.iter().chain(rest).cloned().collect();
        resolve(modules, at, &whole, depth + 1)
    })
}

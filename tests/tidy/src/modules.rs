//! A crate's modules, each with what it declares. What is compiled for tests only is left out.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::{fs, io};

use quote::ToTokens;
use syn::visit_mut::VisitMut;
use syn::{Attribute, Item, ItemMod, ItemUse, UseTree, Visibility};

use crate::paths;

/// A module. Its name is its path from the crate's root: empty for the root itself.
#[derive(Debug, Default)]
pub(crate) struct Module {
    /// The file it stands in, from the folder of the sources.
    pub(crate) file: String,
    pub(crate) submodules: BTreeSet<String>,
    /// What `use` brings in: a name, and the path that it stands for.
    pub(crate) names: BTreeMap<String, Vec<String>>,
    /// The names among them that are there for others, and not used here.
    pub(crate) passed_on: BTreeSet<String>,
    /// `use path::*`
    pub(crate) globs: Vec<Vec<String>>,
    /// What is defined here.
    pub(crate) defined: BTreeSet<String>,
    /// Every path in the code, by its segments.
    pub(crate) paths: Vec<Vec<String>>,
}

pub(crate) type Modules = BTreeMap<Vec<String>, Module>;

/// Reads the crate whose `lib.rs` is in this folder.
pub(crate) fn read(sources: &Path) -> io::Result<Modules> {
    let mut modules = Modules::new();
    file(sources, &sources.join("lib.rs"), Vec::new(), &mut modules)?;
    Ok(modules)
}

fn file(sources: &Path, path: &Path, name: Vec<String>, modules: &mut Modules) -> io::Result<()> {
    let text = fs::read_to_string(path)?;
    let mut parsed =
        syn::parse_file(&text).map_err(|error| io::Error::other(format!("{}: {error}", path.display())))?;
    NoTests.visit_file_mut(&mut parsed);
    let shown = path.strip_prefix(sources).unwrap_or(path).display().to_string();
    module(sources, path, &shown, name, parsed.items, modules)
}

fn module(
    sources: &Path,
    path: &Path,
    shown: &str,
    name: Vec<String>,
    items: Vec<Item>,
    modules: &mut Modules,
) -> io::Result<()> {
    let mut read = Module { file: shown.to_owned(), ..Module::default() };
    let mut code = Vec::new();
    for item in items {
        match item {
            Item::Mod(declared) => {
                let mut below = name.clone();
                below.push(declared.ident.to_string());
                read.submodules.insert(declared.ident.to_string());
                match declared.content {
                    Some((_, items)) => module(sources, path, shown, below, items, modules)?,
                    None => file(sources, &file_of(path, &declared), below, modules)?,
                }
            }
            Item::Use(using) => {
                let passed_on = !matches!(using.vis, Visibility::Inherited);
                read.using(using, passed_on);
            }
            item => {
                read.defined.extend(defines(&item));
                code.push(item.into_token_stream());
            }
        }
    }
    read.paths = code.into_iter().flat_map(paths::of).collect();
    // A name that is passed on and used here, too, is an import like others.
    let used: BTreeSet<_> = read.paths.iter().filter_map(|path| path.first().cloned()).collect();
    read.passed_on.retain(|name| !used.contains(name));
    modules.insert(name, read);
    Ok(())
}

impl Module {
    fn using(&mut self, using: ItemUse, passed_on: bool) {
        let mut leaves = Vec::new();
        collect(using.tree, Vec::new(), &mut leaves);
        for (name, path) in leaves {
            if name == "*" {
                self.globs.push(path);
                continue;
            }
            if passed_on {
                self.passed_on.insert(name.clone());
            }
            self.names.insert(name, path);
        }
    }
}

fn collect(tree: UseTree, mut before: Vec<String>, leaves: &mut Vec<(String, Vec<String>)>) {
    match tree {
        UseTree::Path(path) => {
            before.push(path.ident.to_string());
            collect(*path.tree, before, leaves);
        }
        UseTree::Name(name) if name.ident == "self" => {
            leaves.push((before.last().cloned().unwrap_or_default(), before));
        }
        UseTree::Name(name) => {
            before.push(name.ident.to_string());
            leaves.push((name.ident.to_string(), before));
        }
        UseTree::Rename(rename) => {
            before.push(rename.ident.to_string());
            leaves.push((rename.rename.to_string(), before));
        }
        UseTree::Glob(_) => leaves.push(("*".to_owned(), before)),
        UseTree::Group(group) => {
            for tree in group.items {
                collect(tree, before.clone(), leaves);
            }
        }
    }
}

fn file_of(declared_in: &Path, declared: &ItemMod) -> PathBuf {
    let folder = declared_in.parent().unwrap_or(Path::new(""));
    let given = declared.attrs.iter().find_map(|attribute| match &attribute.meta {
        syn::Meta::NameValue(pair) if pair.path.is_ident("path") => match &pair.value {
            syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(path), .. }) => Some(path.value()),
            _ => None,
        },
        _ => None,
    });
    if let Some(path) = given {
        return folder.join(path);
    }
    let stem = declared_in.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    let folder = if matches!(stem, "lib" | "mod") { folder.to_owned() } else { folder.join(stem) };
    let alone = folder.join(format!("{}.rs", declared.ident));
    if alone.exists() { alone } else { folder.join(declared.ident.to_string()).join("mod.rs") }
}

fn defines(item: &Item) -> Option<String> {
    let ident = match item {
        Item::Const(item) => &item.ident,
        Item::Enum(item) => &item.ident,
        Item::Fn(item) => &item.sig.ident,
        Item::Macro(item) => item.ident.as_ref()?,
        Item::Static(item) => &item.ident,
        Item::Struct(item) => &item.ident,
        Item::Trait(item) => &item.ident,
        Item::Type(item) => &item.ident,
        _ => return None,
    };
    Some(ident.to_string())
}

/// Takes away what is compiled for tests only.
struct NoTests;

impl VisitMut for NoTests {
    fn visit_file_mut(&mut self, file: &mut syn::File) {
        file.items.retain(|item| !attributes(item).iter().any(for_tests));
        syn::visit_mut::visit_file_mut(self, file);
    }

    fn visit_item_impl_mut(&mut self, item: &mut syn::ItemImpl) {
        item.items.retain(
            |item| !matches!(item, syn::ImplItem::Fn(function) if function.attrs.iter().any(for_tests)),
        );
    }
}

fn for_tests(attribute: &Attribute) -> bool {
    attribute.path().is_ident("cfg")
        && attribute.meta.to_token_stream().to_string().replace(' ', "") == "cfg(test)"
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

//! The paths in a piece of code, also within macros.

use proc_macro2::{TokenStream, TokenTree};

/// `a::b::c` as its segments. A name alone is a path of one segment.
pub(crate) fn of(code: TokenStream) -> Vec<Vec<String>> {
    let mut paths = Vec::new();
    scan(code, &mut paths);
    paths
}

fn scan(code: TokenStream, paths: &mut Vec<Vec<String>>) {
    let mut path: Vec<String> = Vec::new();
    // How many colons stand since the last name: two of them go on with its path.
    let mut colons = 0;
    for token in code {
        match token {
            TokenTree::Ident(name) => {
                if colons != 2 {
                    paths.extend((!path.is_empty()).then(|| std::mem::take(&mut path)));
                }
                path.push(name.to_string());
                colons = 0;
            }
            TokenTree::Punct(punct) if punct.as_char() == ':' => colons += 1,
            other => {
                paths.extend((!path.is_empty()).then(|| std::mem::take(&mut path)));
                colons = 0;
                if let TokenTree::Group(group) = other {
                    scan(group.stream(), paths);
                }
            }
        }
    }
    paths.extend((!path.is_empty()).then_some(path));
}

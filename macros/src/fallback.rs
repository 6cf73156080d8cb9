//! What a wrong attribute expands to: the function as it was written, and the errors beside it.
//!
//! With the function in place nothing else breaks: one mistake is one error, and not another one at each of
//! the function's callers. `compile_error!` is allowed where a function is: in a module, an `impl`, a `trait`.

use proc_macro2::TokenStream;
use quote::quote;
use syn::parse::{ParseStream, Parser};
use syn::{Attribute, Error, Result};

use crate::function::is_ours;

pub(crate) fn expand(item: TokenStream, errors: &Error) -> TokenStream {
    let item = without_stacked.parse2(item.clone()).unwrap_or(item);
    let errors = errors.to_compile_error();
    quote!(#item #errors)
}

/// The item without the attributes below this one. Left there, they would report their errors again.
fn without_stacked(input: ParseStream<'_>) -> Result<TokenStream> {
    let mut attributes = input.call(Attribute::parse_outer)?;
    attributes.retain(|attribute| !is_ours(attribute));
    let rest: TokenStream = input.parse()?;
    Ok(quote!(#(#attributes)* #rest))
}

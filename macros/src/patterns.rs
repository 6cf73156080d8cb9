//! Patterns of arguments that another attribute took out of the signature before ours saw it.
//!
//! `#[async_trait]` makes of `async fn pay(&self, Pay { id, .. }: Pay)`:
//!
//! ```text
//! fn pay(&self, __arg1: Pay) -> Pin<Box<…>> {
//!     Box::pin(async move {
//!         let __self = self;
//!         let Pay { id, .. } = { let __arg1 = __arg1; __arg1 };
//!         <the body>
//!     })
//! }
//! ```
//!
//! The message is evaluated before all of that, and may use `id`. So such a statement is taken out of the block,
//! however deep other attributes have put it, and stands in front. Nothing of the user's runs for it: a pattern
//! only takes an argument apart, as the signature of an `async fn` does.

use proc_macro2::{Delimiter, Group, Ident, TokenStream, TokenTree};
use syn::{FnArg, Pat, Signature};

/// A function that boxes an `async` block, and what was taken out of that.
pub(crate) struct Destructured {
    /// `Box::pin`, as it was written.
    pub(crate) pin: TokenStream,
    /// The statements with the patterns.
    pub(crate) lets: TokenStream,
    /// The block without them.
    pub(crate) future: TokenStream,
}

impl Destructured {
    /// What there is to take out of the body of a function, if anything.
    pub(crate) fn of(signature: &Signature, body: &TokenStream) -> Option<Self> {
        let arguments: Vec<&Ident> = signature.inputs.iter().filter_map(generated_name).collect();
        if arguments.is_empty() {
            return None;
        }
        let mut pin: Vec<TokenTree> = body.clone().into_iter().collect();
        let Some(TokenTree::Group(boxed)) = pin.pop() else { return None };
        let future = boxed.stream();
        if !ends_with(&pin, "pin") || !begins_with(&future, "async") {
            return None;
        }
        let mut lets = Vec::new();
        let future = take_out(future, &arguments, &mut lets)?;
        Some(Self { pin: pin.into_iter().collect(), lets: lets.into_iter().collect(), future })
    }
}

/// The name of an argument, if it is one that only a macro writes: then no message uses it.
fn generated_name(argument: &FnArg) -> Option<&Ident> {
    let FnArg::Typed(argument) = argument else { return None };
    match &*argument.pat {
        Pat::Ident(pattern) if pattern.ident.to_string().starts_with("__") => Some(&pattern.ident),
        _ => None,
    }
}

fn ends_with(tokens: &[TokenTree], name: &str) -> bool {
    matches!(tokens.last(), Some(TokenTree::Ident(last)) if last == name)
}

fn begins_with(tokens: &TokenStream, name: &str) -> bool {
    matches!(tokens.clone().into_iter().next(), Some(TokenTree::Ident(first)) if first == name)
}

/// The tokens without the statements that take one of the arguments apart, or `None` where there are none:
/// what is not changed stays as it is.
fn take_out(tokens: TokenStream, arguments: &[&Ident], lets: &mut Vec<TokenTree>) -> Option<TokenStream> {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let before = lets.len();
    let mut kept = Vec::with_capacity(tokens.len());
    let mut rest = tokens.as_slice();
    while let [first, others @ ..] = rest {
        if let Some(length) = destructuring(rest, arguments) {
            let (statement, others) = rest.split_at(length);
            lets.extend(attributes(&mut kept));
            lets.extend_from_slice(statement);
            rest = others;
            continue;
        }
        kept.push(match first {
            TokenTree::Group(group) => TokenTree::Group(take_out_of_group(group, arguments, lets)),
            other => other.clone(),
        });
        rest = others;
    }
    (lets.len() > before).then(|| kept.into_iter().collect())
}

fn take_out_of_group(group: &Group, arguments: &[&Ident], lets: &mut Vec<TokenTree>) -> Group {
    let Some(stream) = take_out(group.stream(), arguments, lets) else { return group.clone() };
    let mut changed = Group::new(group.delimiter(), stream);
    changed.set_span(group.span());
    changed
}

/// How many tokens `let <pattern> = { let argument = argument; argument };` has, if the tokens begin with that.
fn destructuring(tokens: &[TokenTree], arguments: &[&Ident]) -> Option<usize> {
    let is_let = |token: &TokenTree| matches!(token, TokenTree::Ident(keyword) if keyword == "let");
    let end = tokens.iter().position(|token| is_punct(token, ';'))?;
    // Two of them are an `if let` and what follows it.
    if !is_let(tokens.first()?) || tokens[1..end].iter().any(is_let) {
        return None;
    }
    let (TokenTree::Group(value), equals) =
        (tokens.get(end.checked_sub(1)?)?, tokens.get(end.checked_sub(2)?)?)
    else {
        return None;
    };
    (is_punct(equals, '=') && moves_argument(value, arguments)).then_some(end + 1)
}

/// `{ let argument = argument; argument }`
fn moves_argument(group: &Group, arguments: &[&Ident]) -> bool {
    let tokens: Vec<TokenTree> = group.stream().into_iter().collect();
    let [
        TokenTree::Ident(keyword),
        TokenTree::Ident(to),
        equals,
        TokenTree::Ident(from),
        end,
        TokenTree::Ident(result),
    ] = tokens.as_slice()
    else {
        return false;
    };
    group.delimiter() == Delimiter::Brace
        && keyword == "let"
        && is_punct(equals, '=')
        && is_punct(end, ';')
        && arguments.iter().any(|argument| [to, from, result].iter().all(|name| name == argument))
}

/// The attributes that stand in front of what comes next, such as a `#[cfg]` of the argument.
fn attributes(kept: &mut Vec<TokenTree>) -> Vec<TokenTree> {
    let mut start = kept.len();
    while let Some([TokenTree::Punct(hash), TokenTree::Group(_)]) =
        start.checked_sub(2).map(|two| &kept[two..start])
        && hash.as_char() == '#'
    {
        start -= 2;
    }
    kept.split_off(start)
}

fn is_punct(token: &TokenTree, wanted: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == wanted)
}

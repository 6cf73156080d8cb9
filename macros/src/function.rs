//! What has to be known of the annotated function. Its body stays a stream of tokens: it is handed on
//! verbatim, so there is nothing to understand in it, and code that is still being typed expands, too.

use proc_macro2::TokenStream;
use syn::parse::{Parse, ParseStream};
use syn::{Attribute, Error, Result, ReturnType, Signature, Token, Type, Visibility, braced, token};

use crate::args::Args;
use crate::errors::Errors;
use crate::patterns::Destructured;

/// A function with a body, free or in an `impl` or a `trait`.
pub(crate) struct Function {
    pub(crate) attributes: Vec<Attribute>,
    pub(crate) visibility: Visibility,
    pub(crate) signature: Signature,
    pub(crate) braces: token::Brace,
    /// `#![...]` at the head of the body: allowed there only, so they can't move with the rest.
    pub(crate) inner_attributes: Vec<Attribute>,
    pub(crate) body: TokenStream,
}

/// How the function hands its future to the caller.
pub(crate) enum Shape<'a> {
    /// `async fn`, and the type it is declared to return.
    Async(&'a Type),
    /// `fn` with a boxed future for its return type, such as `#[async_trait]` makes of a method.
    Boxed(&'a Type),
    /// The same, of arguments with patterns, which stand in the body now.
    Destructured(&'a Type, Destructured),
}

impl Parse for Function {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let attributes = input.call(Attribute::parse_outer)?;
        let visibility = input.parse()?;
        if !starts_function(input) {
            return Err(input.error("`#[transactional_message]` goes on a function"));
        }
        let signature: Signature = input.parse()?;
        if input.peek(Token![;]) {
            let remedy = "this function has no body to run: annotate its implementations instead, each of them \
                          with a `message` of its own";
            return Err(Error::new(signature.ident.span(), remedy));
        }
        let content;
        Ok(Self {
            attributes,
            visibility,
            signature,
            braces: braced!(content in input),
            inner_attributes: content.call(Attribute::parse_inner)?,
            body: content.parse()?,
        })
    }
}

impl Function {
    /// Takes the attributes of the same name out of the stack: one call decides all messages together.
    pub(crate) fn absorb_stacked(&mut self, errors: &mut Errors) -> Vec<Args> {
        let stacked = self.attributes.extract_if(.., |attribute| is_ours(attribute));
        stacked.map(|attribute| Args::read_stacked(&attribute, errors)).collect()
    }

    pub(crate) fn shape(&self) -> Option<Shape<'_>> {
        let ReturnType::Type(_, returned) = &self.signature.output else { return None };
        if self.signature.asyncness.is_some() {
            Some(Shape::Async(returned))
        } else {
            is_boxed_future(returned).then(|| match Destructured::of(&self.signature, &self.body) {
                Some(destructured) => Shape::Destructured(returned, destructured),
                None => Shape::Boxed(returned),
            })
        }
    }
}

fn starts_function(input: ParseStream<'_>) -> bool {
    input.peek(Token![fn])
        || input.peek(Token![async])
        || input.peek(Token![const])
        || input.peek(Token![unsafe])
        || input.peek(Token![extern])
}

/// Whether this is one of the stacked attributes. By its last segment, since the path before it is the
/// user's choice; under another name (`use … as …`) it can't be recognised.
pub(crate) fn is_ours(attribute: &Attribute) -> bool {
    attribute.path().segments.last().is_some_and(|segment| segment.ident == "transactional_message")
}

/// By name, because a macro sees no types: `Pin<Box<…>>`, or an alias that is called `BoxFuture`.
fn is_boxed_future(returned: &Type) -> bool {
    match returned {
        Type::Group(group) => is_boxed_future(&group.elem),
        Type::Paren(paren) => is_boxed_future(&paren.elem),
        Type::Path(path) => {
            path.path.segments.last().is_some_and(|last| last.ident == "Pin" || last.ident == "BoxFuture")
        }
        _ => false,
    }
}

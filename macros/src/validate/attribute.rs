//! The rules for the arguments of one attribute.

use proc_macro2::{Ident, TokenStream, TokenTree};
use quote::ToTokens;
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{Expr, ExprLit, GenericParam, Lit, LitStr, Signature};

use crate::args::{Args, Fence};
use crate::errors::Errors;

/// What AMQP takes for an exchange, a routing key, a type and a content type, and we for a name; in bytes.
const SHORT_STRING_MAX: usize = 255;

pub(crate) fn check(args: &Args, signature: &Signature, errors: &mut Errors) {
    is_complete(args, errors);
    is_due_once(args, errors);
    is_bytes_or_json(args, errors);
    is_answered_once(args, errors);
    names_its_handler(args, signature, errors);
    asks_a_handler(args, errors);
    handler_stands_alone(args, signature, errors);
    strings_fit_amqp(args, errors);
    names_are_not_empty(args, errors);
    crate_path_is_absolute(args, errors);
}

/// Every message has a routing key and a payload. With a fence, there may be none: the body decides on its own.
fn is_complete(args: &Args, errors: &mut Errors) {
    if let (Some(_), Some(messages)) = (args.written("message"), args.written("messages")) {
        errors.at(messages.span(), "`message` is for one, and `messages` for any number of them: remove one");
    }
    if !args.understood || (args.written("fence").is_some() && !says_of_a_message(args)) {
        return;
    }
    if args.written("routing_key").is_none() {
        errors.at(args.span, "missing `routing_key`, such as `routing_key = \"payment.completed\"`");
    }
    if args.written("message").is_none() && args.written("messages").is_none() {
        errors.at(args.span, "missing `message`, such as `message = PaymentCompleted { .. }`");
    }
}

fn is_due_once(args: &Args, errors: &mut Errors) {
    if let (Some(_), Some(time)) = (args.written("delay"), args.written("deliver_at")) {
        errors.at(time.span(), "`delay` and `deliver_at` both say when it is delivered: remove one of them");
    }
}

/// With `content_type`, the payload is the bytes of one message.
fn is_bytes_or_json(args: &Args, errors: &mut Errors) {
    if let (Some(content_type), Some(_)) = (args.written("content_type"), args.written("messages")) {
        errors.at(
            content_type.span(),
            "`content_type` goes with `message`, whose value is the bytes of the body; `messages` are sent as JSON",
        );
    }
}

/// Whether there is anything about a message in it.
pub(super) fn says_of_a_message(args: &Args) -> bool {
    const KEYS: [&str; 13] = [
        "exchange",
        "routing_key",
        "message",
        "messages",
        "business_key",
        "headers",
        "type",
        "content_type",
        "delay",
        "deliver_at",
        "expires_in",
        "priority",
        "check_back",
    ];
    KEYS.iter().any(|key| args.written(key).is_some())
}

/// Exactly one of `fence` and `check_back` answers for a call that nobody reported.
fn is_answered_once(args: &Args, errors: &mut Errors) {
    match (args.written("fence"), args.written("check_back")) {
        (Some(_), Some(check_back)) => {
            errors.at(
                check_back.span(),
                "`fence` and `check_back` answer the same question: remove one of them",
            );
        }
        (None, None) if args.understood => {
            let remedy = "missing `fence` or `check_back`: write `fence` if the body works in a transaction that \
                          `begin` opened, or else `check_back = handler`";
            errors.at(args.span, remedy);
        }
        _ => {}
    }
}

/// A handler is found again by a name, also after a restart; a fence needs none.
fn names_its_handler(args: &Args, signature: &Signature, errors: &mut Errors) {
    match (args.written("name"), args.written("check_back"), args.written("fence")) {
        (None, Some(check_back), None) if args.understood => {
            let remedy = format!(
                "missing `name`: it is stored with the message, and the handler is found by it after a restart; \
                 such as `name = \"{}\"`",
                signature.ident.unraw()
            );
            errors.at(check_back.span(), remedy);
        }
        (Some(name), None, Some(_)) => {
            errors.at(name.span(), "`name` is for a check-back handler, and a fence needs none: remove it");
        }
        _ => {}
    }
}

/// What is said about asking a handler has no meaning for a fence: its answer is exact at any time.
fn asks_a_handler(args: &Args, errors: &mut Errors) {
    if args.written("fence").is_none() || args.written("check_back").is_some() {
        return;
    }
    for key in ["on_err", "check_after"] {
        if let Some(key) = args.written(key) {
            errors.at(
                key.span(),
                format!("`{key}` is for `check_back`; a fence is always asked at once: remove it"),
            );
        }
    }
}

/// Handlers are registered in a constant, which knows neither the `Self` nor the generics around it.
fn handler_stands_alone(args: &Args, signature: &Signature, errors: &mut Errors) {
    let Some(handler) = &args.check_back else { return };
    let path = &handler.value;
    if let Some(place) = find(path.to_token_stream(), &|ident| ident == "Self") {
        let last = path.path.segments.last().map(|segment| &segment.ident);
        let example = last.map_or_else(String::new, |last| format!(", such as `Payments::{last}`"));
        let remedy =
            format!("`Self` is unknown where handlers are registered: write the type's name{example}");
        errors.at(place.span(), remedy);
    }
    let is_generic = |ident: &Ident| signature.generics.params.iter().any(|param| is_named(param, ident));
    if let Some(place) = find(path.to_token_stream(), &is_generic) {
        let remedy = format!("`{place}` is unknown where handlers are registered: write a concrete type");
        errors.at(place.span(), remedy);
    }
}

fn is_named(param: &GenericParam, ident: &Ident) -> bool {
    match param {
        GenericParam::Type(param) => param.ident == *ident,
        GenericParam::Const(param) => param.ident == *ident,
        GenericParam::Lifetime(_) => false,
    }
}

fn find(tokens: TokenStream, wanted: &impl Fn(&Ident) -> bool) -> Option<Ident> {
    tokens.into_iter().find_map(|token| match token {
        TokenTree::Ident(ident) if wanted(&ident) => Some(ident),
        TokenTree::Group(group) => find(group.stream(), wanted),
        _ => None,
    })
}

/// AMQP has one byte for the length of these. Values that aren't literals are measured at run time.
fn strings_fit_amqp(args: &Args, errors: &mut Errors) {
    let expressions =
        [&args.exchange, &args.routing_key, &args.message_type, &args.content_type].into_iter().flatten();
    let literals = expressions.filter_map(|argument| Some((&argument.key, literal(&argument.value)?)));
    for (key, string) in literals.chain(args.name.iter().map(|name| (&name.key, &name.value))) {
        let length = string.value().len();
        if length > SHORT_STRING_MAX {
            errors.at(
                string.span(),
                format!("`{key}` has {length} bytes, and the limit is {SHORT_STRING_MAX}"),
            );
        }
    }
}

fn literal(expression: &Expr) -> Option<&LitStr> {
    match expression {
        Expr::Lit(ExprLit { lit: Lit::Str(string), .. }) => Some(string),
        _ => None,
    }
}

/// A name is there to be looked up and to be read in a log.
fn names_are_not_empty(args: &Args, errors: &mut Errors) {
    if let Some(name) = args.name.as_ref().filter(|name| name.value.value().is_empty()) {
        errors
            .at(name.value.span(), "the name is empty: say what the function does, such as `name = \"pay\"`");
    }
    let fence = args.fence.as_ref().map(|fence| &fence.value);
    if let Some(Fence::Named(name)) = fence
        && name.value().is_empty()
    {
        errors.at(name.span(), "the name is empty: write `fence` alone if there is only one fence database");
    }
}

/// Generated code stands in the user's module, where a relative path could mean something else.
fn crate_path_is_absolute(args: &Args, errors: &mut Errors) {
    let Some(path) = args.crate_path.as_ref().map(|path| &path.value) else { return };
    // `$crate` is what a `macro_rules!` macro writes for its own crate.
    let from_root =
        path.segments.first().is_some_and(|first| first.ident == "crate" || first.ident == "$crate");
    if path.leading_colon.is_none() && !from_root {
        let remedy =
            "the path must be absolute: begin it with `::` and the name of a crate, or with `crate::`";
        errors.at(path.span(), remedy);
    }
}

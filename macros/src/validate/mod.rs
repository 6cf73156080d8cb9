//! Which functions and which arguments make sense, and what they then say. One function for each rule;
//! every error says where it is and what to do. All rules are looked at, so that one compilation shows all.

mod attribute;
mod function;
mod stack;

use quote::quote_spanned;
use syn::{Path, Signature, parse_quote};

pub(crate) use self::function::function;
use crate::args::Args;
use crate::errors::Errors;
use crate::model::{Answer, Call, HandlerRegistration, Message, Payload};

/// What the attributes say, or `None` where something that it needs was reported to be missing.
pub(crate) fn call(signature: &Signature, attributes: &[Args], errors: &mut Errors) -> Option<Call> {
    for args in attributes {
        attribute::check(args, signature, errors);
    }
    stack::check(attributes, errors);

    Some(Call {
        crate_path: said(attributes, |args| args.crate_path.as_ref())
            .map_or_else(|| default_crate_path(signature), |path| path.value),
        messenger: said(attributes, |args| args.messenger.as_ref()),
        error: said(attributes, |args| args.error.as_ref()),
        answer: answer(attributes),
        messages: attributes
            .iter()
            .filter(|args| attribute::says_of_a_message(args))
            .map(message)
            .collect::<Option<_>>()?,
    })
}

/// What may be said once, on any attribute of the stack.
fn said<T: Clone>(attributes: &[Args], argument: impl Fn(&Args) -> Option<&T>) -> Option<T> {
    attributes.iter().find_map(argument).cloned()
}

/// As if the user had written it: the compiler then shows their code for an error, and not the attribute.
fn default_crate_path(signature: &Signature) -> Path {
    let path = quote_spanned!(signature.ident.span()=> ::transactional_message);
    parse_quote!(#path)
}

fn answer(attributes: &[Args]) -> Answer {
    match said(attributes, |args| args.fence.as_ref()) {
        Some(fence) => Answer::Fence(fence),
        None => Answer::CheckBack {
            on_err: said(attributes, |args| args.on_err.as_ref()),
            check_after: said(attributes, |args| args.check_after.as_ref()),
        },
    }
}

fn message(args: &Args) -> Option<Message> {
    let producer = args.name.clone().zip(args.check_back.clone());
    Some(Message {
        exchange: args.exchange.as_ref().map_or_else(|| parse_quote!(""), |exchange| exchange.value.clone()),
        routing_key: args.routing_key.clone()?,
        payload: args.message.clone().map(Payload::One).or(args.messages.clone().map(Payload::Each))?,
        business_key: args.business_key.clone(),
        headers: args.headers.clone(),
        type_name: args.message_type.clone(),
        content_type: args.content_type.clone(),
        not_before: args.delay.clone().or_else(|| args.deliver_at.clone()),
        expires_in: args.expires_in.clone(),
        priority: args.priority.clone(),
        producer: producer.map(|(name, handler)| HandlerRegistration { name: name.value, handler }),
    })
}

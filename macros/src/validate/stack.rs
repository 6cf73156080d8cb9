//! The rules for stacked attributes: they describe one call, whose messages are decided together.

use crate::args::{Args, Fence};
use crate::errors::Errors;

pub(crate) fn check(attributes: &[Args], errors: &mut Errors) {
    let Some((outermost, others)) = attributes.split_first() else { return };
    for (index, args) in others.iter().enumerate() {
        let above = &attributes[..=index];
        is_answered_alike(outermost, args, errors);
        is_named_apart(above, args, errors);
        is_said_once(above, args, errors);
    }
}

/// One question decides all messages, so they can't ask different witnesses.
fn is_answered_alike(outermost: &Args, args: &Args, errors: &mut Errors) {
    let why = "stacked attributes are one call, decided by one answer";
    let fence = args.written("fence");
    let check_back = args.written("check_back");
    match (outermost.written("fence"), outermost.written("check_back"), fence, check_back) {
        (Some(_), None, None, Some(key)) => {
            errors.at(key.span(), format!("{why}: write `fence`, as the first of them does"));
        }
        (None, Some(_), Some(key), None) => {
            errors.at(key.span(), format!("{why}: write `check_back`, as the first of them does"));
        }
        (Some(_), None, Some(key), None) if database(outermost) != database(args) => {
            errors.at(key.span(), format!("{why}: name the same fence database as the first of them"));
        }
        _ => {}
    }
}

fn database(args: &Args) -> Option<String> {
    match args.fence.as_ref()?.value {
        Fence::Named(ref name) => Some(name.value()),
        Fence::Only => None,
    }
}

/// Two handlers of one name could not be told apart after a restart.
fn is_named_apart(above: &[Args], args: &Args, errors: &mut Errors) {
    let name = |args: &Args| args.name.as_ref().map(|name| name.value.value());
    if let Some(argument) = &args.name
        && above.iter().any(|other| name(other) == name(args))
    {
        errors
            .at(argument.value.span(), "another message of this function has that name: each needs its own");
    }
}

/// What holds for the whole call is said on one attribute, so that no two can disagree.
fn is_said_once(above: &[Args], args: &Args, errors: &mut Errors) {
    for key in ["messenger", "on_err", "check_after", "error", "crate"] {
        if let Some(key) = args.written(key)
            && above.iter().any(|other| other.written(&key.to_string()).is_some())
        {
            errors
                .at(key.span(), format!("`{key}` holds for all stacked attributes: write it on one of them"));
        }
    }
}

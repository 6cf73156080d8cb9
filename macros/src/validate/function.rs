//! The rules for the annotated function.

use syn::spanned::Spanned;
use syn::{Error, ReturnType, Type};

use crate::errors::Errors;
use crate::function::{Function, Shape};

/// How the function returns its future, or `None` where it returns none, which is then reported.
pub(crate) fn function<'a>(function: &'a Function, errors: &mut Errors) -> Option<Shape<'a>> {
    runs_after_the_half(function, errors);
    tells_how_it_ended(function, errors);
    function.shape()
}

/// The body runs when the half message is stored, which is awaited; so the function can be waited for.
fn runs_after_the_half(function: &Function, errors: &mut Errors) {
    let signature = &function.signature;
    let why = "the body waits until the half message is stored";
    if let Some(constness) = signature.constness {
        errors.at(constness.span, format!("{why}, so it can't be `const`: write `async fn`"));
    } else if let Some(abi) = &signature.abi {
        errors.at(abi.extern_token.span, format!("{why}, which foreign code can't: write `async fn`"));
    } else if signature.asyncness.is_none() && function.shape().is_none() {
        match &signature.output {
            ReturnType::Type(_, returned) if matches!(**returned, Type::ImplTrait(_)) => {
                errors.at(
                    returned.span(),
                    "write `async fn` and what the future results in: `-> Result<T, E>`",
                );
            }
            _ => errors.at(
                signature.fn_token.span,
                format!(
                    "{why}: write `async fn` (or return a boxed future: `Pin<Box<..>>`, `BoxFuture<..>`)"
                ),
            ),
        }
    }
}

/// Whether the message is sent depends on what the function returns.
fn tells_how_it_ended(function: &Function, errors: &mut Errors) {
    let remedy = "the message is sent if this returns `Ok`: declare `-> Result<T, E>`, with an `E` that \
                  implements `From<transactional_message::Error>`, or that a function makes which `error` names";
    match &function.signature.output {
        ReturnType::Default => errors.at(function.signature.ident.span(), remedy),
        ReturnType::Type(_, returned) if is_no_result(returned) => {
            errors.add(Error::new_spanned(returned, remedy));
        }
        ReturnType::Type(..) => {}
    }
}

/// What is surely no `Result`. A name can be an alias of one, so all but the commonest are left to the
/// compiler, which knows, but would report an error for each side of the disagreement.
fn is_no_result(returned: &Type) -> bool {
    match returned {
        Type::Tuple(_) | Type::Reference(_) | Type::Array(_) | Type::Never(_) => true,
        Type::Path(path) => ["bool", "u32", "u64", "i32", "i64", "usize", "String", "Vec", "Option"]
            .iter()
            .any(|name| path.path.segments.len() == 1 && path.path.segments[0].ident == name),
        _ => false,
    }
}

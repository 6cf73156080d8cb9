//! The `#[transactional_message]` attribute of the crate `transactional-message`, which re-exports it. Use it
//! from there: this crate alone generates code that names the other one.
//!
//! The phases, in the order of their files: `args` reads the attribute and `function` the item below it;
//! `validate` holds the rules and makes the `model`; `expand` turns that into code. Where a rule is broken,
//! `fallback` keeps the function as it is and puts the errors beside it.

mod args;
mod errors;
mod expand;
mod fallback;
mod function;
#[cfg(test)]
mod fuzz;
mod model;
mod patterns;
#[cfg(test)]
mod tests;
mod validate;

use proc_macro::TokenStream;
use proc_macro2::Span;

use crate::args::Args;
use crate::errors::Errors;
use crate::function::Function;

/// Sends a message if, and only if, what the function does took effect.
///
/// The message is stored as a *half message* before the body runs, and is sent when the body has returned
/// `Ok`. If nobody reports how the body ended, because the process died, say, then somebody is asked:
///
/// - `fence`: the database in which the body did its work. `begin` writes a row in the body's own transaction,
///   and whether that row is there is the answer. Exact, and nothing else to write.
/// - `check_back = handler`: an `async fn` of yours, for everything that is no transaction in a database.
///
/// # Arguments
///
/// Expressions may use the function's arguments, `self` included. They are evaluated before the body runs, and
/// borrow: the body still owns what it was given. Only `messages`, `headers`, the bytes of a
/// message with `content_type`, times and numbers are taken by value.
///
/// | argument | value | |
/// |---|---|---|
/// | `message` | expression, `Serialize` | the payload; with `check_back`, of the type that the handler takes |
/// | `messages` | expression, iterator | instead of `message`: one for each item, with what else the attribute says |
/// | `routing_key` | expression, `Display` | where the message goes |
/// | `exchange` | expression, `Display` | by default `""`; a consumer is bound to it as to any other |
/// | `fence` | | the fence database answers, if there is only one |
/// | `fence = "orders"` | literal | the fence database of that name answers |
/// | `check_back` | path of an `async fn` | the handler that answers |
/// | `name` | literal | names the handler; with `check_back` only, and required: stored with every message |
/// | `business_key` | expression, `Display` | the business key, for people and tools |
/// | `headers` | expression, pairs of `Display` | the message's own headers |
/// | `type` | expression, `Display` | a stable name of the payload's format |
/// | `content_type` | expression, `Display` | then `message` is the bytes of the body, in a format of your own |
/// | `delay` | expression, `Duration` | delivers it not before so much time has passed |
/// | `deliver_at` | expression, `SystemTime` | delivers it not before that time |
/// | `expires_in` | expression, `Duration` | does not deliver it when it is late by so much |
/// | `priority` | expression, `u8` | AMQP's `priority` |
/// | `on_err = ask` | | the handler is asked after an `Err`, too, instead of taking it for "no effect" |
/// | `check_after` | expression, `Duration` | how long after an unreported end the handler is first asked |
/// | `error` | path of a `fn(Error) -> E` | makes the function's error, where its type can't implement `From` |
/// | `messenger` | expression, `Messenger` | stores and sends; otherwise the one in scope, or the installed one |
/// | `crate` | absolute path | where `transactional_message` is found, if a crate re-exports it |
///
/// Either `fence` or `check_back` is required, and so are `message` or `messages` with `routing_key`; but for a
/// function with `fence` alone, whose body decides on all of its messages.
///
/// # The function
///
/// An `async fn`, free or in an `impl` or a trait, or a function that returns a boxed future, which is what
/// `#[async_trait]` makes of a method. It returns a `Result` whose error implements
/// `From<transactional_message::Error>`: that is how the caller learns that the message could not be stored, in
/// which case the body did not run. An error type of another crate, such as a gRPC status or a tuple, can't
/// implement that; then `error` names a function that makes one:
///
/// ```text
/// fn not_stored(error: transactional_message::Error) -> tonic::Status {
///     tonic::Status::unavailable(error.to_string())
/// }
///
/// #[transactional_message(routing_key = "paid", fence, message = id, error = not_stored)]
/// async fn pay(db: &PgPool, id: u64) -> Result<(), tonic::Status> {
///     let mut tx = begin(db).await.map_err(not_stored)?;
///     // ...
/// }
/// ```
///
/// The future has to be `Send`; so a function that calls itself returns a boxed
/// one, because the compiler can't tell that of an `async fn` while it is still at its body.
///
/// A handler is registered when the program starts, outside of the function. So its path can't use `Self` or
/// the function's generic parameters, and its payload owns its data: a `message` that borrows goes with `fence`.
///
/// # Inside the body
///
/// `send(message)` sends one that only the body can know of, as many as it likes: decided with the call, like those of
/// the attribute.
///
/// `call_id()` is the id of the call, for work that a handler looks up later. `withhold()` says that this `Ok` has
/// nothing to send, as for a repeated request whose work was done before. `tx.amend(&message)` on the fenced
/// transaction replaces the payload, for ids that are only known there.
///
/// # Cancel safety
///
/// A call whose future is dropped is settled like one that panics: somebody is asked.
///
/// # Several messages
///
/// Attributes can be stacked. They make one call: its messages are stored together, and sent or cancelled
/// together. So all have to be answered in the same way, with a `name` and a handler for each message where
/// that is `check_back`; and `on_err`, `check_after`, `error`, `messenger` and `crate` are written once. They are told
/// by their name: under another one (`use … as …`) each attribute would make a call of its own.
///
/// # What it expands to
///
/// The first example of `transactional-message` becomes
///
/// ```text
/// async fn pay(db: &SqlitePool, command: Pay) -> Result<Receipt, PayError> {
///     let call = ::transactional_message::__private::call(::core::module_path!(), "pay")
///         .fence()
///         .send("payments", "payment.completed", &PaymentCompleted { order_id: &command.order_id, cents: command.cents });
///     ::transactional_message::__private::run(call, async move {
///         // never taken: tells the compiler the type of the block
///         if let ::core::option::Option::Some(ret) = ::core::option::Option::None::<Result<Receipt, PayError>> {
///             return ret;
///         }
///         // the body, as it was written
///     })
///     .await
/// }
/// ```
///
/// and everything else is ordinary code in `transactional-message`.
#[proc_macro_attribute]
pub fn transactional_message(args: TokenStream, item: TokenStream) -> TokenStream {
    expansion(args.into(), item.into()).into()
}

/// The attribute without the compiler around it, as the tests call it.
fn expansion(args: proc_macro2::TokenStream, item: proc_macro2::TokenStream) -> proc_macro2::TokenStream {
    try_expansion(args, item.clone()).unwrap_or_else(|errors| fallback::expand(item, &errors))
}

/// Read, check, generate.
fn try_expansion(
    args: proc_macro2::TokenStream,
    item: proc_macro2::TokenStream,
) -> syn::Result<proc_macro2::TokenStream> {
    let mut errors = Errors::default();
    let mut function: Function = syn::parse2(item)?;
    // Where the attribute is, but as if the user had written the error: without a note about a macro.
    let attribute = Span::call_site().resolved_at(function.signature.ident.span());
    let mut attributes = vec![Args::read(attribute, args, &mut errors)];
    attributes.extend(function.absorb_stacked(&mut errors));
    let shape = validate::function(&function, &mut errors);
    let call = validate::call(&function.signature, &attributes, &mut errors);
    let (shape, call) = errors.or_else(shape.zip(call))?;
    Ok(expand::function(&function, &shape, &call))
}

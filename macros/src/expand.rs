//! From the model to tokens; no decisions. What is generated:
//!
//! ```text
//! async fn pay(db: &SqlitePool, command: Pay) -> Result<Receipt, PayError> {
//!     let call = ::transactional_message::__private::call(::core::module_path!(), "pay")
//!         .fence()
//!         .send("payments", "payment.completed", &PaymentCompleted { order_id: &command.order_id });
//!     ::transactional_message::__private::run(call, async move { <return edge> <the body> }).await
//! }
//! ```
//!
//! The message is evaluated before the body takes the arguments over. The body appears once, so the compiler
//! checks it once and an editor finds one place for it. All that happens at run time is in `run`.

use proc_macro2::{Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::visit_mut::{VisitMut, visit_type_mut};
use syn::{Expr, ExprLit, ExprParen, ExprReference, Lit, Path, Token, Type, parse_quote, token};

use crate::args::{Argument, Fence};
use crate::function::{Function, Shape};
use crate::model::{Answer, Call, HandlerRegistration, Message, Payload};
use crate::patterns::Destructured;

pub(crate) fn function(function: &Function, shape: &Shape<'_>, call: &Call) -> TokenStream {
    let Function { attributes, visibility, signature, braces, inner_attributes, .. } = function;
    let body = match shape {
        Shape::Async(returned) => {
            let run = run(call, function, returned, &async_block(function, returned));
            quote_spanned!(returned.span()=> #run.await)
        }
        Shape::Boxed(returned) => run(call, function, returned, &awaited(function, returned)),
        Shape::Destructured(returned, Destructured { pin, lets, future }) => {
            let run = run(call, function, returned, future);
            quote_spanned!(generated(returned.span())=> #pin(async move { #lets #run.await }))
        }
    };
    let mut tokens = quote!(#(#attributes)* #visibility #signature);
    braces.surround(&mut tokens, |block| block.extend(quote!(#(#inner_attributes)* #body)));
    tokens
}

/// The call with its messages, as one expression. Each method stands at the key of the argument that it is
/// for: what the compiler and an editor have to say about the one is shown at the other.
fn describe(call: &Call, function: &Ident) -> TokenStream {
    let name = function.unraw().to_string();
    let private = private(&call.crate_path, function.span());
    let messenger =
        call.messenger.as_ref().map(|messenger| method("messenger", messenger, &borrowed(&messenger.value)));
    let answer = answer(&call.answer);
    let sends = call.messages.iter().map(|message| send(&call.crate_path, message));
    quote!(#private::call(::core::module_path!(), #name) #messenger #answer #(#sends)*)
}

fn answer(answer: &Answer) -> TokenStream {
    match answer {
        Answer::Fence(fence) => match &fence.value {
            Fence::Only => method("fence", fence, &TokenStream::new()),
            Fence::Named(name) => method("fence_named", fence, name),
        },
        Answer::CheckBack { on_err, check_after } => {
            let ask_on_err = on_err.as_ref().map(|ask| method("ask_on_err", ask, &TokenStream::new()));
            let check_after = check_after.as_ref().map(|after| method("check_after", after, &after.value));
            quote!(#ask_on_err #check_after)
        }
    }
}

fn send(crate_path: &Path, message: &Message) -> TokenStream {
    let (exchange, routing_key) = (borrowed(&message.exchange), borrowed(&message.routing_key.value));
    let payload = payload(crate_path, message);
    let content_type = message.content_type.as_ref().map(|content_type| borrowed(&content_type.value));
    let send = match (&message.payload, content_type) {
        (Payload::One(argument), Some(content_type)) => {
            method("send_bytes", argument, &quote!(#exchange, #routing_key, #content_type, #payload))
        }
        (Payload::One(argument), None) => {
            method("send", argument, &quote!(#exchange, #routing_key, #payload))
        }
        (Payload::Each(argument), _) => {
            method("send_each", argument, &quote!(#exchange, #routing_key, #payload))
        }
    };
    let key = message.business_key.as_ref().map(|key| method("business_key", key, &borrowed(&key.value)));
    let headers = message.headers.as_ref().map(|headers| method("headers", headers, &headers.value));
    let type_name =
        message.type_name.as_ref().map(|name| method("message_type", name, &borrowed(&name.value)));
    let by_value = [&message.not_before, &message.expires_in, &message.priority];
    let by_value = by_value.into_iter().flatten();
    let by_value = by_value.map(|argument| method(&argument.key.to_string(), argument, &argument.value));
    let check_back = message.producer.as_ref().map(|producer| check_back(crate_path, producer));
    quote!(#send #key #headers #type_name #(#by_value)* #check_back)
}

/// The payload, checked against the one that the handler takes, where there is a handler.
fn payload(crate_path: &Path, message: &Message) -> TokenStream {
    let handler = message.producer.as_ref().map(|producer| &producer.handler.value);
    let is_bytes = message.content_type.is_some();
    let Some(handler) = handler else {
        return match &message.payload {
            Payload::One(Argument { value, .. }) if !is_bytes => {
                borrowed_at(value.span(), value).to_token_stream()
            }
            Payload::One(Argument { value, .. }) | Payload::Each(Argument { value, .. }) => {
                value.to_token_stream()
            }
        };
    };
    let (method, payload) = match &message.payload {
        Payload::One(Argument { value, .. }) if is_bytes => ("bytes", value.clone()),
        Payload::One(Argument { value, .. }) => ("message", borrowed(value)),
        Payload::Each(Argument { value, .. }) => ("messages", value.clone()),
    };
    let (method, private) = (Ident::new(method, handler.span()), private(crate_path, handler.span()));
    quote_spanned!(handler.span()=> #private::handler(#handler).#method(#payload))
}

/// Registers the handler, also if the function is never called. The constant stands in a block of its own:
/// items are visible in all of their block, and would hide a constant of that name from the user's code.
fn check_back(
    crate_path: &Path,
    HandlerRegistration { name, handler: argument }: &HandlerRegistration,
) -> TokenStream {
    let handler = &argument.value;
    let private = private(crate_path, handler.span());
    let registered = quote_spanned! {handler.span()=> {
        const PRODUCER: #private::HandlerRegistration =
            #private::HandlerRegistration::new(#name, ::core::option_env!("CARGO_PKG_NAME"), || #private::handler(#handler).erase());
        #private::inventory::submit! { PRODUCER }
        &PRODUCER
    }};
    method("check_back", argument, &registered)
}

fn method<T>(name: &str, argument: &Argument<T>, value: &impl ToTokens) -> TokenStream {
    let place = argument.key.span();
    let name = Ident::new(name, place);
    quote_spanned!(place=> .#name(#value))
}

/// Describes the call and runs it. The last expression stands, for the compiler, at the return type: an error
/// type that can't carry ours is an error there.
fn run(call: &Call, function: &Function, returned: &Type, body: &TokenStream) -> TokenStream {
    // The user's code and ours can't see each other's variables, so a user's own `call` is safe.
    let local = Ident::new("call", Span::mixed_site());
    let description = describe(call, &function.signature.ident);
    let place = returned.span();
    let private = private(&call.crate_path, place);
    let run = match &call.error {
        None => quote_spanned!(place=> #private::run(#local, #body)),
        Some(convert) => {
            let error = method("error", convert, &convert.value);
            quote_spanned!(place=> #private::with_body(#local, #body) #error)
        }
    };
    quote!(let #local = #description; #run)
}

/// The body of an `async fn`.
fn async_block(Function { braces, body, .. }: &Function, returned: &Type) -> TokenStream {
    let edge = return_edge(returned);
    let mut block = TokenStream::new();
    braces.surround(&mut block, |block| block.extend(quote!(#edge #body)));
    quote_spanned!(returned.span()=> async move #block)
}

/// The body of a function that returns a future. In a closure, so that what it does before it returns that waits
/// for the half message, too.
fn awaited(Function { braces, body, .. }: &Function, returned: &Type) -> TokenStream {
    let mut block = TokenStream::new();
    braces.surround(&mut block, |block| block.extend(body.clone()));
    let future = quote_spanned!(generated(returned.span())=> (move || -> #returned #block)());
    quote_spanned!(returned.span()=> async move { #future.await })
}

/// A `return` that is never reached. It tells the compiler what the `async` block returns before it looks at
/// the body, so that a wrong value is an error on the user's line, and coercions work. It is a statement of
/// the body's own block: one more block around that would make the user's braces look superfluous.
fn return_edge(returned: &Type) -> TokenStream {
    let mut returned = returned.clone();
    InferImplTrait.visit_type_mut(&mut returned);
    quote_spanned! {returned.span()=>
        if let ::core::option::Option::Some(ret) = ::core::option::Option::None::<#returned> {
            return ret;
        }
    }
}

/// `impl Trait` can't be named in a body, but it can be left to the compiler: `_`.
struct InferImplTrait;

impl VisitMut for InferImplTrait {
    fn visit_type_mut(&mut self, node: &mut Type) {
        if matches!(node, Type::ImplTrait(_)) {
            *node = parse_quote!(_);
        } else {
            visit_type_mut(self, node);
        }
    }
}

/// `&expression`, so that nothing is moved out of the arguments before the body runs. What is a reference as
/// it is written stays as it is.
fn borrowed(expression: &Expr) -> Expr {
    borrowed_at(generated(expression.span()), expression)
}

fn borrowed_at(place: Span, expression: &Expr) -> Expr {
    match expression {
        Expr::Lit(ExprLit { lit: Lit::Str(_), .. }) | Expr::Reference(_) => expression.clone(),
        _ => Expr::Reference(ExprReference {
            attrs: Vec::new(),
            and_token: Token![&](place),
            mutability: None,
            expr: Box::new(parenthesized(expression.clone())),
        }),
    }
}

/// In parentheses, if a `&` would take the first operand only. `syn` would add them by itself, but then an
/// error in the expression would be shown at the whole attribute.
fn parenthesized(expression: Expr) -> Expr {
    match expression {
        Expr::Binary(_) | Expr::Cast(_) | Expr::Range(_) => Expr::Paren(ExprParen {
            attrs: Vec::new(),
            paren_token: token::Paren(generated(expression.span())),
            expr: Box::new(expression),
        }),
        other => other,
    }
}

/// The path of the runtime's part for generated code, placed where an error about it belongs.
fn private(crate_path: &Path, place: Span) -> TokenStream {
    let located = |mut token: TokenTree| {
        // What `$crate` is depends on its span. `crate` is marked as generated, or else the compiler would
        // advise on a shorter path.
        let is_crate = matches!(&token, TokenTree::Ident(ident) if ident == "crate");
        token.set_span(if is_crate { generated(place) } else { token.span().located_at(place) });
        token
    };
    let crate_path: TokenStream = crate_path.to_token_stream().into_iter().map(located).collect();
    quote_spanned!(place=> #crate_path::__private)
}

/// At the user's place, but known to be generated, so that lints about the user's style don't look at it.
fn generated(place: Span) -> Span {
    Span::mixed_site().located_at(place)
}

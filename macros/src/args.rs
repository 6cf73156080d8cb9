//! The grammar of the attribute: `exchange = "payments", routing_key = "payment.completed", fence, …`.
//!
//! Reads what is written and nothing more: whether the arguments fit together is `validate`'s concern.

use proc_macro2::{Ident, Span, TokenStream, TokenTree};
use syn::ext::IdentExt;
use syn::parse::{ParseStream, Parser};
use syn::spanned::Spanned;
use syn::visit_mut::{VisitMut, visit_expr_mut};
use syn::{Attribute, Error, Expr, ExprLit, ExprPath, Lit, LitStr, Meta, Path, Result, Token};

use crate::errors::Errors;

pub(crate) const NAMES: &str = "`exchange`, `routing_key`, `message`, `messages`, `fence`, `check_back`, `name`, `business_key`, `headers`, \
                     `type`, `content_type`, `delay`, `deliver_at`, `expires_in`, `priority`, `on_err`, `check_after`, `error`, `messenger`, `crate`";

/// The arguments of one attribute.
pub(crate) struct Args {
    /// The attribute itself, for errors about what is not there.
    pub(crate) span: Span,
    /// Nothing was misspelt or unreadable. Otherwise "missing" would be said of what is only misspelt.
    pub(crate) understood: bool,
    /// The keys as they were written, also those whose value could not be read.
    keys: Vec<Ident>,
    pub(crate) exchange: Option<Argument<Expr>>,
    pub(crate) routing_key: Option<Argument<Expr>>,
    pub(crate) message: Option<Argument<Expr>>,
    pub(crate) messages: Option<Argument<Expr>>,
    pub(crate) fence: Option<Argument<Fence>>,
    pub(crate) check_back: Option<Argument<ExprPath>>,
    pub(crate) name: Option<Argument<LitStr>>,
    pub(crate) business_key: Option<Argument<Expr>>,
    pub(crate) headers: Option<Argument<Expr>>,
    pub(crate) message_type: Option<Argument<Expr>>,
    pub(crate) content_type: Option<Argument<Expr>>,
    pub(crate) delay: Option<Argument<Expr>>,
    pub(crate) deliver_at: Option<Argument<Expr>>,
    pub(crate) expires_in: Option<Argument<Expr>>,
    pub(crate) priority: Option<Argument<Expr>>,
    pub(crate) on_err: Option<Argument<Ask>>,
    pub(crate) check_after: Option<Argument<Expr>>,
    pub(crate) error: Option<Argument<ExprPath>>,
    pub(crate) messenger: Option<Argument<Expr>>,
    pub(crate) crate_path: Option<Argument<Path>>,
}

/// A value, and its key: the place for errors about the argument, and for the code that is made of it.
#[derive(Clone)]
pub(crate) struct Argument<T> {
    pub(crate) key: Ident,
    pub(crate) value: T,
}

/// `fence`, the only database there is, or `fence = "orders"`.
#[derive(Clone)]
pub(crate) enum Fence {
    Only,
    Named(LitStr),
}

/// The one value of `on_err`.
#[derive(Clone)]
pub(crate) struct Ask;

impl Args {
    /// Reads the tokens between the parentheses. Every mistake goes to `errors`; reading goes on after it.
    pub(crate) fn read(span: Span, tokens: TokenStream, errors: &mut Errors) -> Self {
        let mut args = Self::empty(span);
        let list = |input: ParseStream<'_>| {
            args.list(input, errors);
            Ok(())
        };
        if let Err(error) = list.parse2(tokens) {
            errors.add(error);
        }
        args
    }

    /// Reads an attribute that stands below the one being expanded.
    pub(crate) fn read_stacked(attribute: &Attribute, errors: &mut Errors) -> Self {
        let span = attribute.path().span();
        match &attribute.meta {
            Meta::List(list) => Self::read(span, list.tokens.clone(), errors),
            Meta::Path(_) => Self::empty(span),
            Meta::NameValue(_) => {
                errors.at(span, "arguments are written in parentheses: `#[transactional_message(...)]`");
                Self { understood: false, ..Self::empty(span) }
            }
        }
    }

    /// The key, if the argument was written at all.
    pub(crate) fn written(&self, key: &str) -> Option<&Ident> {
        self.keys.iter().find(|written| *written == key)
    }

    fn empty(span: Span) -> Self {
        Self {
            span,
            understood: true,
            keys: Vec::new(),
            exchange: None,
            routing_key: None,
            message: None,
            messages: None,
            fence: None,
            check_back: None,
            name: None,
            business_key: None,
            headers: None,
            message_type: None,
            content_type: None,
            delay: None,
            deliver_at: None,
            expires_in: None,
            priority: None,
            on_err: None,
            check_after: None,
            error: None,
            messenger: None,
            crate_path: None,
        }
    }

    fn list(&mut self, input: ParseStream<'_>, errors: &mut Errors) {
        while !input.is_empty() {
            if let Err(error) = self.argument(input, errors) {
                errors.add(error);
                self.understood = false;
                skip_to_comma(input);
            }
            if !input.is_empty() && input.parse::<Token![,]>().is_err() {
                errors.at(input.span(), "expected `,` before the next argument");
                if !at_argument(input) {
                    self.understood = false;
                    skip_to_comma(input);
                }
            }
        }
    }

    fn argument(&mut self, input: ParseStream<'_>, errors: &mut Errors) -> Result<()> {
        let key = input.call(Ident::parse_any).map_err(|error| {
            Error::new(error.span(), format!("expected the name of an argument: {NAMES}"))
        })?;
        if self.written(&key.to_string()).is_some() {
            errors.at(key.span(), format!("`{key}` is written twice: remove one"));
        }
        self.keys.push(key.clone());
        match key.to_string().as_str() {
            "exchange" => self.exchange = Some(value(key, input, r#""payments""#)?),
            "routing_key" => self.routing_key = Some(value(key, input, r#""payment.completed""#)?),
            "message" => self.message = Some(value(key, input, "PaymentCompleted { .. }")?),
            "messages" => {
                self.messages = Some(value(key, input, "command.items.iter().map(ItemSold::from)")?);
            }
            "fence" => self.fence = Some(fence(key, input)?),
            "check_back" => self.check_back = Some(value(key, input, "pay_outcome")?.map(handler)?),
            "name" => self.name = Some(string(value(key, input, r#""pay""#)?, r#""pay""#)?),
            "business_key" => self.business_key = Some(value(key, input, "command.payment_id")?),
            "headers" => self.headers = Some(value(key, input, r#"[("tenant", &command.tenant)]"#)?),
            "type" => self.message_type = Some(value(key, input, r#""payment.completed.v1""#)?),
            "content_type" => {
                self.content_type = Some(value(key, input, r#""application/protobuf""#)?);
            }
            "delay" => self.delay = Some(value(key, input, "Duration::from_mins(30)")?),
            "deliver_at" => self.deliver_at = Some(value(key, input, "command.starts_at")?),
            "expires_in" => self.expires_in = Some(value(key, input, "Duration::from_mins(5)")?),
            "priority" => self.priority = Some(value(key, input, "5")?),
            "on_err" => self.on_err = Some(value(key, input, "ask")?.map(ask)?),
            "check_after" => self.check_after = Some(value(key, input, "Duration::from_secs(30)")?),
            "error" => self.error = Some(value(key, input, "PayError::not_stored")?.map(conversion)?),
            "messenger" => self.messenger = Some(value(key, input, "&self.messenger")?),
            "crate" => self.crate_path = Some(crate_path(key, input)?),
            _ => return Err(Error::new(key.span(), format!("unknown argument: expected one of {NAMES}"))),
        }
        Ok(())
    }
}

impl<T> Argument<T> {
    fn map<U>(self, change: impl FnOnce(T) -> Result<U>) -> Result<Argument<U>> {
        Ok(Argument { key: self.key, value: change(self.value)? })
    }
}

fn value(key: Ident, input: ParseStream<'_>, example: &str) -> Result<Argument<Expr>> {
    equals(&key, input, example)?;
    let mut value = input.parse()?;
    Ungroup.visit_expr_mut(&mut value);
    Ok(Argument { key, value })
}

/// Takes expressions out of the invisible groups in which a `macro_rules!` macro wraps them. The compiler
/// overlooks those in generated code, behind a `&` for one; without them, parentheses are put where needed.
struct Ungroup;

impl VisitMut for Ungroup {
    fn visit_expr_mut(&mut self, node: &mut Expr) {
        while let Expr::Group(group) = node {
            *node = (*group.expr).clone();
        }
        visit_expr_mut(self, node);
    }
}

/// The `=`, and something behind it. Without this, the compiler would underline what comes after.
fn equals(key: &Ident, input: ParseStream<'_>, example: &str) -> Result<()> {
    let equals = input.parse::<Option<Token![=]>>()?;
    if equals.is_none() || input.is_empty() || input.peek(Token![,]) {
        return Err(Error::new(key.span(), format!("`{key}` needs a value, such as `{key} = {example}`")));
    }
    Ok(())
}

fn fence(key: Ident, input: ParseStream<'_>) -> Result<Argument<Fence>> {
    if !input.peek(Token![=]) {
        return Ok(Argument { key, value: Fence::Only });
    }
    let example = r#""orders""#;
    string(value(key, input, example)?, example)?.map(|name| Ok(Fence::Named(name)))
}

fn string(argument: Argument<Expr>, example: &str) -> Result<Argument<LitStr>> {
    let key = argument.key.clone();
    argument.map(|value| match value {
        Expr::Lit(ExprLit { lit: Lit::Str(string), .. }) => Ok(string),
        other => Err(Error::new_spanned(
            other,
            format!("`{key}` takes a string literal, such as `{key} = {example}`"),
        )),
    })
}

fn handler(value: Expr) -> Result<ExprPath> {
    path(value, "`check_back` takes the path of an `async fn`, such as `check_back = pay_outcome`")
}

fn conversion(value: Expr) -> Result<ExprPath> {
    path(
        value,
        "`error` takes the path of a function that makes the error from a `transactional_message::Error`, such as \
         `error = PayError::not_stored`",
    )
}

fn path(value: Expr, remedy: &str) -> Result<ExprPath> {
    match value {
        Expr::Path(path) => Ok(path),
        other => Err(Error::new_spanned(other, remedy)),
    }
}

fn ask(value: Expr) -> Result<Ask> {
    match value {
        Expr::Path(path) if path.path.is_ident("ask") => Ok(Ask),
        other => Err(Error::new_spanned(
            other,
            "the one choice is `on_err = ask`; without it, an `Err` cancels the message",
        )),
    }
}

fn crate_path(key: Ident, input: ParseStream<'_>) -> Result<Argument<Path>> {
    equals(&key, input, "::my_framework::transactional_message")?;
    Ok(Argument { key, value: Path::parse_mod_style(input)? })
}

/// Whether reading can go on here although a comma is missing.
fn at_argument(input: ParseStream<'_>) -> bool {
    input.peek2(Token![=]) || input.fork().call(Ident::parse_any).is_ok_and(|ident| ident == "fence")
}

fn skip_to_comma(input: ParseStream<'_>) {
    while !input.is_empty() && !input.peek(Token![,]) {
        // A token tree always parses while there is one; the loop ends where it doesn't.
        if input.parse::<TokenTree>().is_err() {
            return;
        }
    }
}

//! Whatever is written in the attribute, and whatever it is written on: the macro never panics, and what
//! it gives back always parses.

use std::panic::{AssertUnwindSafe, catch_unwind};

use proc_macro2::TokenStream;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree;
use syn::{Expr, File, Item};

use crate::expansion;

const KEYS: [&str; 23] = [
    "exchange",
    "routing_key",
    "message",
    "messages",
    "fence",
    "check_back",
    "name",
    "business_key",
    "headers",
    "type",
    "content_type",
    "delay",
    "deliver_at",
    "expires_in",
    "priority",
    "on_err",
    "check_after",
    "error",
    "messenger",
    "crate",
    "r#type",
    "mesage",
    "self",
];

const VALUES: [&str; 22] = [
    r#""orders""#,
    r#""""#,
    "1",
    "-1.5e3",
    "'c'",
    "b\"x\"",
    "c\"x\"",
    "ask",
    "order",
    "outcome",
    "Self::outcome",
    "<T as Trait>::outcome::<'static, u8>",
    "::a::b",
    "r#fn",
    "|x| x",
    "async {}",
    "return",
    "if x { 1 } else { 2 }",
    "Paid { order, ..base }",
    "&mut *x?.await",
    "vec![1, 2]",
    "(..)",
];

const ATOMS: [&str; 44] = [
    "=", ",", "==", "=>", ".", "..", "::", ":", ";", "?", "#", "!", "$", "&", "&&", "*", "<", ">", "->", "|",
    "_", "'a", "1", "1.0", "\"x\"", "'c'", "fn", "async", "const", "unsafe", "extern", "pub", "self", "Self",
    "crate", "impl", "dyn", "where", "for", "move", "fence", "message", "name", "r#async",
];

/// Tokens in any order, with their brackets closed.
fn soup() -> impl Strategy<Value = String> {
    let atom =
        prop_oneof![select(&ATOMS[..]), select(&KEYS[..]), select(&VALUES[..])].prop_map(str::to_owned);
    let tree = atom.prop_recursive(3, 16, 4, |inner| {
        (vec(inner, 0..5), select(vec![("(", ")"), ("[", "]"), ("{", "}")]))
            .prop_map(|(inside, (open, close))| format!("{open} {} {close}", inside.join(" ")))
    });
    vec(tree, 0..8).prop_map(|trees| trees.join(" "))
}

/// Arguments that are nearly right: they get further than soup does.
fn arguments() -> impl Strategy<Value = String> {
    let value = prop_oneof![4 => select(&VALUES[..]).prop_map(str::to_owned), 1 => soup()];
    let argument = (select(&KEYS[..]), option::weighted(0.9, value)).prop_map(|(key, value)| match value {
        Some(value) => format!("{key} = {value}"),
        None => key.to_owned(),
    });
    let right = r#"exchange = "shop", routing_key = "paid", message = order"#;
    let how = select(vec!["", ", fence", ", fence = \"db\"", r#", check_back = outcome, name = "pay""#]);
    let more = vec(argument.clone(), 0..3);
    prop_oneof![
        2 => (how, more).prop_map(move |(how, more)| format!("{right}{how}{}", [vec![String::new()], more].concat().join(", "))),
        2 => vec(argument, 0..8).prop_map(|arguments| arguments.join(", ")),
        1 => soup(),
    ]
}

/// Items, most of them functions, as odd as they come. `@` is where an attribute may stand.
const ITEMS: [&str; 26] = [
    "@ async fn f(order: Order) -> Result<(), E> { Ok(()) }",
    "@ pub(in crate::a) async fn r#type(order: Order) -> Result<(), E> { Ok(()) }",
    "@ async unsafe fn f(order: u8) -> Result<u8, E> { #![allow(unused)] unsafe { g(order) } }",
    "@ async extern \"C\" fn f() -> Result<(), E> {}",
    "@ const fn f() -> Result<(), E> { Ok(()) }",
    "@ async fn f(&self, order: &mut Order) -> Result<(), E> where Self: Sized { Err(e)? }",
    "@ async fn f(self: Pin<&mut Self>, (a, [b, ..]): (u8, [u8; 4]), Paid { x, .. }: Paid, _: u8, mut y: u8) -> Result<(), E> {}",
    "@ async fn f<'a, T: ?Sized + 'a, const N: usize>(order: &'a T, n: [u8; N]) -> Result<impl Sized + use<'a, T, N>, Box<dyn Error>> where T: for<'b> Fn(&'b u8) {}",
    "@ async fn f(order: impl Fn(u8) -> u8, rest: ...) -> Result<(), E> {}",
    "@ async fn f() -> ! { loop {} }",
    "@ async fn f() {}",
    "@ fn f() {}",
    "@ fn f() -> Pin<Box<dyn Future<Output = Result<(), E>> + Send + '_>> { Box::pin(async { Ok(()) }) }",
    "@ fn f<'a>(order: &'a Order) -> BoxFuture<'a, Result<(), E>> { Box::pin(async move { Ok(()) }) }",
    "@ fn f() -> (Pin<Box<Self>>) { todo() }",
    "@ fn f() -> Pin { }",
    "@ async fn f();",
    "@ async fn f() -> Result<(), E> { let unfinished = ; x. }",
    "@ struct S { order: Order }",
    "@ enum E {}",
    "@ trait T { async fn f(&self) -> Result<(), E>; }",
    "@ impl T for S { async fn f(&self) -> Result<(), E> { Ok(()) } }",
    "@ mod m { fn f() {} }",
    "@ use a::{b as c, d::*};",
    "@ macro_rules! m { ($($x:tt)*) => { $($x)* }; }",
    "@ static X: u8 = 1;",
];

/// Attributes between ours and the item.
fn attributes() -> impl Strategy<Value = String> {
    let one = prop_oneof![
        arguments().prop_map(|arguments| format!("#[transactional_message({arguments})]")),
        soup().prop_map(|soup| format!("#[other::transactional_message[{soup}]]")),
        select(vec![
            "#[transactional_message]",
            "#[transactional_message = \"x\"]",
            "#[transactional_message {}]",
            "#[must_use]",
            "#[cfg_attr(x, transactional_message(fence))]",
            "/// Documented.",
        ])
        .prop_map(|attribute| format!("{attribute}\n")),
    ];
    prop_oneof![2 => Just(String::new()), 1 => vec(one, 1..3).prop_map(|all| all.concat())]
}

fn tokens(text: &str) -> Option<TokenStream> {
    text.parse().ok()
}

/// The functions and other things that stand in some code, by kind.
fn outline(file: &File) -> Vec<String> {
    let name = |item: &Item| match item {
        Item::Fn(function) => format!("fn {}", function.sig.ident),
        Item::Macro(call)
            if call.mac.path.segments.last().is_some_and(|last| last.ident == "compile_error") =>
        {
            "compile_error".to_owned()
        }
        _ => "something else".to_owned(),
    };
    file.items.iter().map(name).collect()
}

fn expanded(arguments: &TokenStream, item: &TokenStream) -> Result<TokenStream, TestCaseError> {
    catch_unwind(AssertUnwindSafe(|| expansion(arguments.clone(), item.clone())))
        .map_err(|_| TestCaseError::fail(format!("panics: #[transactional_message({arguments})] {item}")))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    /// An item that parses is still there afterwards, once, and with nothing but errors beside it.
    #[test]
    fn what_comes_out_parses(arguments in arguments(), attributes in attributes(), item in select(&ITEMS[..])) {
        let (Some(arguments), Some(item)) = (tokens(&arguments), tokens(&item.replace('@', &attributes))) else {
            return Err(TestCaseError::reject("no tokens"));
        };
        let out = expanded(&arguments, &item)?;
        let Ok(before) = syn::parse2::<File>(item) else {
            // Unfinished code is kept; the compiler says what is wrong with it.
            prop_assert!(!out.is_empty());
            return Ok(());
        };
        let after = syn::parse2::<File>(out.clone());
        let mut after = outline(&after.map_err(|why| TestCaseError::fail(format!("{why}: {out}")))?);
        let errors = after.iter().filter(|what| *what == "compile_error").count();
        after.retain(|what| what != "compile_error");
        prop_assert_eq!(after, outline(&before));
        let runs = out.to_string().contains("__private");
        prop_assert!(runs != (errors > 0), "{} errors: {}", errors, out);
    }

    /// On something that is no item at all, too.
    #[test]
    fn nothing_panics(arguments in arguments(), item in soup()) {
        let (Some(arguments), Some(item)) = (tokens(&arguments), tokens(&item)) else {
            return Err(TestCaseError::reject("no tokens"));
        };
        let out = expanded(&arguments, &item)?.to_string();
        prop_assert!(out.contains("compile_error") || out.contains("__private"), "{}", out);
    }
}

/// The generator makes arguments that are right, and not only ones that are refused.
#[test]
fn some_of_it_is_right() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut right = 0;
    for _ in 0..300 {
        let arguments = arguments().new_tree(&mut runner).expect("made").current();
        let Some(arguments) = tokens(&arguments) else { continue };
        let item = tokens(&ITEMS[0].replace('@', "")).expect("tokens");
        right += usize::from(!expansion(arguments, item).to_string().contains("compile_error"));
    }
    assert!((20..280).contains(&right), "{right} of 300");
    assert!(VALUES.iter().filter(|value| syn::parse_str::<Expr>(value).is_ok()).count() > 15);
    let whole = |item: &&&str| syn::parse_str::<File>(&item.replace('@', "")).is_ok();
    assert!(ITEMS.iter().filter(whole).count() > 20);
}

//! Snapshots of what the attribute expands to, in `tests/expand/`. They are there to be read, in a review
//! above all; after an intended change, `UPDATE_EXPECT=1 cargo test -p transactional-message-macros` writes
//! them anew.

use expect_test::expect_file;
use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::parse::{Parse, ParseStream, Parser};
use syn::{Attribute, File, ImplItem, Item, Meta};

use crate::args::NAMES;
use crate::expansion;
use crate::function::is_ours;

/// Expands the annotated functions of some source text, as the compiler would, and compares the result.
#[track_caller]
fn check(name: &str, source: TokenStream) {
    let mut file: File = syn::parse2(source).unwrap();
    file.items = file.items.into_iter().flat_map(expand_item).collect();
    expect_file![format!("../tests/expand/{name}.rs")].assert_eq(&prettyplease::unparse(&file));
}

fn expand_item(item: Item) -> Vec<Item> {
    match item {
        Item::Fn(mut function) => expand_function(function.attrs.remove(0), &function),
        Item::Impl(mut block) => {
            block.items = block.items.into_iter().flat_map(expand_impl_item).collect();
            vec![Item::Impl(block)]
        }
        other => vec![other],
    }
}

fn expand_impl_item(item: ImplItem) -> Vec<ImplItem> {
    match item {
        ImplItem::Fn(mut function) => expand_function(function.attrs.remove(0), &function),
        other => vec![other],
    }
}

fn expand_function<T: Parse>(attribute: Attribute, function: &impl ToTokens) -> Vec<T> {
    assert!(is_ours(&attribute));
    let args = match attribute.meta {
        Meta::List(list) => list.tokens,
        _ => TokenStream::new(),
    };
    let parser = |input: ParseStream<'_>| {
        let mut items = Vec::new();
        while !input.is_empty() {
            items.push(input.parse()?);
        }
        Ok(items)
    };
    parser.parse2(expansion(args, function.to_token_stream())).unwrap()
}

#[test]
fn free_fn() {
    check(
        "free_fn",
        quote! {
            #[transactional_message(exchange = "payments", routing_key = "payment.completed", fence,
                message = PaymentCompleted { order_id: &command.order_id, cents: command.cents })]
            /// Pays an order.
            #[must_use]
            pub async fn pay(db: &SqlitePool, command: Pay) -> Result<Receipt, PayError> {
                #![allow(clippy::shadow_reuse)]
                let mut tx = begin(db).await?;
                let receipt = book(&mut tx, command).await?;
                tx.commit().await?;
                Ok(receipt)
            }
        },
    );
}

#[test]
fn decided_in_the_body() {
    check(
        "decided_in_the_body",
        quote! {
            #[transactional_message(fence)]
            async fn sell(db: &PgPool, items: &[Item]) -> Result<(), SellError> {
                let mut tx = begin(db).await?;
                for item in items {
                    tx.send(Message::json("stock", "item.sold", item)?)?;
                }
                Ok(tx.commit().await?)
            }
        },
    );
}

#[test]
fn one_for_each() {
    check(
        "one_for_each",
        quote! {
            impl Shop {
                #[transactional_message(exchange = "stock", routing_key = "item.sold", fence, business_key = order.id,
                    messages = order.items.iter().map(ItemSold::from))]
                async fn sell(&self, order: Order) -> Result<(), SellError> {
                    self.book(order).await
                }

                #[transactional_message(name = "ship", routing_key = "parcel.sent", check_back = ship_outcome,
                    messages = &parcels)]
                async fn ship(&self, parcels: Vec<Parcel>) -> Result<(), ShipError> {
                    self.carrier.order(&parcels, call_id()).await
                }
            }
        },
    );
}

#[test]
fn method() {
    check(
        "method",
        quote! {
            impl Shipping {
                #[transactional_message(name = "ship", exchange = "shipping", routing_key = "parcel.sent",
                    check_back = ship_outcome, message = ParcelSent::from(&parcel))]
                async fn ship(&self, parcel: Parcel) -> Result<Label, ShipError> {
                    self.carrier.order(&parcel, call_id()).await
                }
            }
        },
    );
}

#[test]
fn generic_impl() {
    check(
        "generic_impl",
        quote! {
            impl<S: Store + Send + Sync> Payments<S> {
                #[transactional_message(routing_key = &self.queue, fence, message = Paid { id: command.id })]
                pub(crate) async fn pay<'a, T>(&'a mut self, command: Pay<T>) -> Result<&'a str, PayError>
                where
                    T: Send,
                {
                    self.store.pay(command).await
                }
            }
        },
    );
}

#[test]
fn trait_impl() {
    check(
        "trait_impl",
        quote! {
            impl Payments for Service {
                type Receipt = Receipt;

                #[transactional_message(routing_key = "paid", fence, message = Paid { id: command.id })]
                async fn pay(&self, command: Pay) -> Result<Self::Receipt, PayError> {
                    self.store.pay(command).await
                }
            }
        },
    );
}

/// What `#[async_trait]` makes of a method.
#[test]
fn boxed_future() {
    check(
        "boxed_future",
        quote! {
            impl Payments for Service {
                #[transactional_message(routing_key = "paid", fence, message = Paid { id: command.id })]
                fn pay<'life0, 'async_trait>(
                    &'life0 self,
                    command: Pay,
                ) -> ::core::pin::Pin<
                    Box<dyn ::core::future::Future<Output = Result<Receipt, PayError>> + Send + 'async_trait>,
                >
                where
                    'life0: 'async_trait,
                    Self: 'async_trait,
                {
                    Box::pin(async move {
                        let __self = self;
                        __self.store.pay(command).await
                    })
                }
            }
        },
    );
}

/// The same, where an argument is a pattern.
#[test]
fn async_trait_patterns() {
    check(
        "async_trait_patterns",
        quote! {
            impl Payments for Service {
                #[transactional_message(routing_key = self.queue, fence, message = Paid { id, cents })]
                fn pay<'life0, 'async_trait>(
                    &'life0 self,
                    __arg1: Pay,
                    note: String,
                    __arg3: (u64, bool),
                    __arg4: u8,
                ) -> ::core::pin::Pin<
                    Box<dyn ::core::future::Future<Output = Result<Receipt, PayError>> + Send + 'async_trait>,
                >
                where
                    'life0: 'async_trait,
                    Self: 'async_trait,
                {
                    Box::pin(async move {
                        if let ::core::option::Option::Some(__ret) =
                            ::core::option::Option::None::<Result<Receipt, PayError>>
                        {
                            #[allow(unreachable_code)]
                            return __ret;
                        }
                        let Pay { id, .. } = { let __arg1 = __arg1; __arg1 };
                        let __self = self;
                        let mut note = note;
                        #[cfg(all())]
                        let (cents, _) = { let __arg3 = __arg3; __arg3 };
                        let __arg4 = __arg4;
                        let __ret: Result<Receipt, PayError> = {
                            note.push('!');
                            __self.store.pay(id, cents, note).await
                        };
                        #[allow(unreachable_code)]
                        __ret
                    })
                }
            }
        },
    );
}

#[test]
fn error() {
    check(
        "error",
        quote! {
            #[transactional_message(routing_key = "paid", fence, message = id, error = Self::not_stored)]
            async fn pay(id: u64) -> Result<(), tonic::Status> {
                Ok(())
            }
        },
    );
}

#[test]
fn impl_arg() {
    check(
        "impl_arg",
        quote! {
            #[transactional_message(routing_key = "paid", fence, message = Paid { id: command.id() })]
            async fn pay(command: impl Command + Send) -> Result<impl Display + Send, PayError> {
                Ok(command.id())
            }
        },
    );
}

#[test]
fn alias_return() {
    check(
        "alias_return",
        quote! {
            #[transactional_message(routing_key = "paid", fence, message = Paid { id })]
            async fn pay(id: u64) -> anyhow::Result<()> {
                Ok(())
            }
        },
    );
}

#[test]
fn pattern_args() {
    check(
        "pattern_args",
        quote! {
            #[transactional_message(routing_key = prefix + "paid", fence, message = Paid { id })]
            async fn pay(Pay { id, .. }: Pay, mut call: u32, (prefix, _): (String, u8)) -> Result<u32, PayError> {
                call += 1;
                Ok(call)
            }
        },
    );
}

#[test]
fn stacked() {
    check(
        "stacked",
        quote! {
            #[transactional_message(name = "ship.parcel", routing_key = "parcel.sent", check_back = parcel_outcome,
                message = ParcelSent::from(&parcel))]
            #[tracing::instrument]
            #[transactional_message::transactional_message(name = "ship.invoice", routing_key = "invoice.due",
                check_back = invoice_outcome, message = InvoiceDue::from(&parcel), on_err = ask)]
            async fn ship(carrier: &Carrier, parcel: Parcel) -> Result<Label, ShipError> {
                carrier.order(&parcel, call_id()).await
            }
        },
    );
}

#[test]
fn all_arguments() {
    check(
        "all_arguments",
        quote! {
            #[transactional_message(
                exchange = self.exchange,
                routing_key = format!("parcel.{}", parcel.kind),
                message = ParcelSent::from(&parcel),
                check_back = <Shipping as Answers>::ship_outcome::<Dhl>,
                name = "ship",
                business_key = parcel.id,
                headers = [("tenant", &self.tenant)],
                type = "parcel.sent.v1",
                delay = self.pause,
                expires_in = Duration::from_mins(5),
                priority = parcel.urgency(),
                on_err = ask,
                check_after = Duration::from_secs(30),
                messenger = self.messenger,
            )]
            async fn r#move(&self, parcel: Parcel) -> Result<Label, ShipError> {
                self.carrier.order(&parcel, call_id()).await
            }
        },
    );
}

#[test]
fn bytes() {
    check(
        "bytes",
        quote! {
            #[transactional_message(routing_key = "parcel.sent", fence, content_type = "application/protobuf",
                message = parcel.encode_to_vec(), deliver_at = parcel.pick_up)]
            async fn ship(parcel: Parcel) -> Result<(), ShipError> {
                Ok(())
            }

            #[transactional_message(routing_key = "parcel.sent", name = "ship", check_back = ship_outcome,
                content_type = mime, message = *b"bytes")]
            async fn handled(mime: &str) -> Result<(), ShipError> {
                Ok(())
            }
        },
    );
}

#[test]
fn crate_path() {
    check(
        "crate_path",
        quote! {
            #[transactional_message(crate = ::framework::messages, routing_key = "parcel.sent", name = "ship",
                check_back = ship_outcome, message = ParcelSent::from(&parcel))]
            async fn ship(parcel: Parcel) -> Result<Label, ShipError> {
                carrier().order(&parcel).await
            }
        },
    );
}

/// Every mistake at once, and the function without the attributes.
#[test]
fn bad_args() {
    check(
        "bad_args",
        quote! {
            impl Shipping {
                #[transactional_message(exchange = , rooting_key = "parcel.sent", name = 5, check_back = Self::asked)]
                #[inline]
                #[transactional_message(routing_key = "invoice.due" fence)]
                pub(crate) async fn ship(&self, parcel: Parcel) -> Result<Label, ShipError> {
                    self.carrier.order(&parcel).await
                }
            }
        },
    );
}

/// What errors offer is understood, and documented; and nothing else is.
#[test]
fn the_arguments_that_errors_list_are_known_and_documented() {
    let listed: Vec<_> = NAMES.split('`').skip(1).step_by(2).collect();
    let function = quote!(
        async fn ship() -> Result<(), ShipError> {
            Ok(())
        }
    );
    for name in &listed {
        let ident = syn::parse_str::<TokenStream>(name).unwrap();
        let text = expansion(quote!(#ident = 1), function.clone()).to_string();
        assert!(!text.contains("unknown argument"), "`{name}` is listed, and unknown");
    }
    let documented: Vec<_> = include_str!("lib.rs")
        .lines()
        .filter_map(|line| line.strip_prefix("/// | `")?.split(['`', ' ']).next())
        .collect();
    for name in &listed {
        assert!(documented.contains(name), "`{name}` is not in the table of the documentation");
    }
    for name in documented {
        assert!(listed.contains(&name), "`{name}` is documented, and errors don't list it");
    }
}

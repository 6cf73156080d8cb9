#[tracing::instrument]
async fn ship(carrier: &Carrier, parcel: Parcel) -> Result<Label, ShipError> {
    let call = ::transactional_message::__private::call(::core::module_path!(), "ship")
        .ask_on_err()
        .send(
            "",
            "parcel.sent",
            ::transactional_message::__private::handler(parcel_outcome)
                .message(&ParcelSent::from(&parcel)),
        )
        .check_back({
            const PRODUCER: ::transactional_message::__private::HandlerRegistration = ::transactional_message::__private::HandlerRegistration::new(
                "ship.parcel",
                ::core::option_env!("CARGO_PKG_NAME"),
                || ::transactional_message::__private::handler(parcel_outcome).erase(),
            );
            ::transactional_message::__private::inventory::submit! {
                PRODUCER
            }
            &PRODUCER
        })
        .send(
            "",
            "invoice.due",
            ::transactional_message::__private::handler(invoice_outcome)
                .message(&InvoiceDue::from(&parcel)),
        )
        .check_back({
            const PRODUCER: ::transactional_message::__private::HandlerRegistration = ::transactional_message::__private::HandlerRegistration::new(
                "ship.invoice",
                ::core::option_env!("CARGO_PKG_NAME"),
                || ::transactional_message::__private::handler(invoice_outcome).erase(),
            );
            ::transactional_message::__private::inventory::submit! {
                PRODUCER
            }
            &PRODUCER
        });
    ::transactional_message::__private::run(
            call,
            async move {
                if let ::core::option::Option::Some(ret) = ::core::option::Option::None::<
                    Result<Label, ShipError>,
                > {
                    return ret;
                }
                carrier.order(&parcel, call_id()).await
            },
        )
        .await
}

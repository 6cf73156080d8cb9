impl Shipping {
    async fn ship(&self, parcel: Parcel) -> Result<Label, ShipError> {
        let call = ::transactional_message::__private::call(
                ::core::module_path!(),
                "ship",
            )
            .send(
                "shipping",
                "parcel.sent",
                ::transactional_message::__private::handler(ship_outcome)
                    .message(&ParcelSent::from(&parcel)),
            )
            .check_back({
                const PRODUCER: ::transactional_message::__private::HandlerRegistration = ::transactional_message::__private::HandlerRegistration::new(
                    "ship",
                    ::core::option_env!("CARGO_PKG_NAME"),
                    || ::transactional_message::__private::handler(ship_outcome).erase(),
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
                    self.carrier.order(&parcel, call_id()).await
                },
            )
            .await
    }
}

async fn ship(parcel: Parcel) -> Result<Label, ShipError> {
    let call = ::framework::messages::__private::call(::core::module_path!(), "ship")
        .send(
            "",
            "parcel.sent",
            ::framework::messages::__private::handler(ship_outcome)
                .message(&ParcelSent::from(&parcel)),
        )
        .check_back({
            const PRODUCER: ::framework::messages::__private::HandlerRegistration = ::framework::messages::__private::HandlerRegistration::new(
                "ship",
                ::core::option_env!("CARGO_PKG_NAME"),
                || ::framework::messages::__private::handler(ship_outcome).erase(),
            );
            ::framework::messages::__private::inventory::submit! {
                PRODUCER
            }
            &PRODUCER
        });
    ::framework::messages::__private::run(
            call,
            async move {
                if let ::core::option::Option::Some(ret) = ::core::option::Option::None::<
                    Result<Label, ShipError>,
                > {
                    return ret;
                }
                carrier().order(&parcel).await
            },
        )
        .await
}

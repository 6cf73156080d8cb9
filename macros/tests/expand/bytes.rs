async fn ship(parcel: Parcel) -> Result<(), ShipError> {
    let call = ::transactional_message::__private::call(::core::module_path!(), "ship")
        .fence()
        .send_bytes("", "parcel.sent", "application/protobuf", parcel.encode_to_vec())
        .deliver_at(parcel.pick_up);
    ::transactional_message::__private::run(
            call,
            async move {
                if let ::core::option::Option::Some(ret) = ::core::option::Option::None::<
                    Result<(), ShipError>,
                > {
                    return ret;
                }
                Ok(())
            },
        )
        .await
}
async fn handled(mime: &str) -> Result<(), ShipError> {
    let call = ::transactional_message::__private::call(
            ::core::module_path!(),
            "handled",
        )
        .send_bytes(
            "",
            "parcel.sent",
            &mime,
            ::transactional_message::__private::handler(ship_outcome).bytes(*b"bytes"),
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
                    Result<(), ShipError>,
                > {
                    return ret;
                }
                Ok(())
            },
        )
        .await
}

async fn r#move(&self, parcel: Parcel) -> Result<Label, ShipError> {
    let call = ::transactional_message::__private::call(::core::module_path!(), "move")
        .messenger(&self.messenger)
        .ask_on_err()
        .check_after(Duration::from_secs(30))
        .send(
            &self.exchange,
            &format!("parcel.{}", parcel.kind),
            ::transactional_message::__private::handler(
                    <Shipping as Answers>::ship_outcome::<Dhl>,
                )
                .message(&ParcelSent::from(&parcel)),
        )
        .business_key(&parcel.id)
        .headers([("tenant", &self.tenant)])
        .message_type("parcel.sent.v1")
        .delay(self.pause)
        .expires_in(Duration::from_mins(5))
        .priority(parcel.urgency())
        .check_back({
            const PRODUCER: ::transactional_message::__private::HandlerRegistration = ::transactional_message::__private::HandlerRegistration::new(
                "ship",
                ::core::option_env!("CARGO_PKG_NAME"),
                || {
                    ::transactional_message::__private::handler(
                            <Shipping as Answers>::ship_outcome::<Dhl>,
                        )
                        .erase()
                },
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

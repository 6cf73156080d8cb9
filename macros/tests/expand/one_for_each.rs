impl Shop {
    async fn sell(&self, order: Order) -> Result<(), SellError> {
        let call = ::transactional_message::__private::call(
                ::core::module_path!(),
                "sell",
            )
            .fence()
            .send_each("stock", "item.sold", order.items.iter().map(ItemSold::from))
            .business_key(&order.id);
        ::transactional_message::__private::run(
                call,
                async move {
                    if let ::core::option::Option::Some(ret) = ::core::option::Option::None::<
                        Result<(), SellError>,
                    > {
                        return ret;
                    }
                    self.book(order).await
                },
            )
            .await
    }
    async fn ship(&self, parcels: Vec<Parcel>) -> Result<(), ShipError> {
        let call = ::transactional_message::__private::call(
                ::core::module_path!(),
                "ship",
            )
            .send_each(
                "",
                "parcel.sent",
                ::transactional_message::__private::handler(ship_outcome)
                    .messages(&parcels),
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
                    self.carrier.order(&parcels, call_id()).await
                },
            )
            .await
    }
}

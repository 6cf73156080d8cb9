impl Payments for Service {
    type Receipt = Receipt;
    async fn pay(&self, command: Pay) -> Result<Self::Receipt, PayError> {
        let call = ::transactional_message::__private::call(
                ::core::module_path!(),
                "pay",
            )
            .fence()
            .send("", "paid", &Paid { id: command.id });
        ::transactional_message::__private::run(
                call,
                async move {
                    if let ::core::option::Option::Some(ret) = ::core::option::Option::None::<
                        Result<Self::Receipt, PayError>,
                    > {
                        return ret;
                    }
                    self.store.pay(command).await
                },
            )
            .await
    }
}

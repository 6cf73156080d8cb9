impl Payments for Service {
    fn pay<'life0, 'async_trait>(
        &'life0 self,
        command: Pay,
    ) -> ::core::pin::Pin<
        Box<
            dyn ::core::future::Future<
                Output = Result<Receipt, PayError>,
            > + Send + 'async_trait,
        >,
    >
    where
        'life0: 'async_trait,
        Self: 'async_trait,
    {
        let call = ::transactional_message::__private::call(
                ::core::module_path!(),
                "pay",
            )
            .fence()
            .send("", "paid", &Paid { id: command.id });
        ::transactional_message::__private::run(
            call,
            async move {
                (move || -> ::core::pin::Pin<
                    Box<
                        dyn ::core::future::Future<
                            Output = Result<Receipt, PayError>,
                        > + Send + 'async_trait,
                    >,
                > {
                    Box::pin(async move {
                        let __self = self;
                        __self.store.pay(command).await
                    })
                })()
                    .await
            },
        )
    }
}

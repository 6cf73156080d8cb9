impl Payments for Service {
    fn pay<'life0, 'async_trait>(
        &'life0 self,
        __arg1: Pay,
        note: String,
        __arg3: (u64, bool),
        __arg4: u8,
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
        Box::pin(async move {
            let Pay { id, .. } = {
                let __arg1 = __arg1;
                __arg1
            };
            #[cfg(all())]
            let (cents, _) = {
                let __arg3 = __arg3;
                __arg3
            };
            let call = ::transactional_message::__private::call(
                    ::core::module_path!(),
                    "pay",
                )
                .fence()
                .send("", &self.queue, &Paid { id, cents });
            ::transactional_message::__private::run(
                    call,
                    async move {
                        if let ::core::option::Option::Some(__ret) = ::core::option::Option::None::<
                            Result<Receipt, PayError>,
                        > {
                            #[allow(unreachable_code)] return __ret;
                        }
                        let __self = self;
                        let mut note = note;
                        let __arg4 = __arg4;
                        let __ret: Result<Receipt, PayError> = {
                            note.push('!');
                            __self.store.pay(id, cents, note).await
                        };
                        #[allow(unreachable_code)] __ret
                    },
                )
                .await
        })
    }
}

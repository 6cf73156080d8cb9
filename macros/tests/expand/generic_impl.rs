impl<S: Store + Send + Sync> Payments<S> {
    pub(crate) async fn pay<'a, T>(
        &'a mut self,
        command: Pay<T>,
    ) -> Result<&'a str, PayError>
    where
        T: Send,
    {
        let call = ::transactional_message::__private::call(
                ::core::module_path!(),
                "pay",
            )
            .fence()
            .send("", &self.queue, &Paid { id: command.id });
        ::transactional_message::__private::run(
                call,
                async move {
                    if let ::core::option::Option::Some(ret) = ::core::option::Option::None::<
                        Result<&'a str, PayError>,
                    > {
                        return ret;
                    }
                    self.store.pay(command).await
                },
            )
            .await
    }
}

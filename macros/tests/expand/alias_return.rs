async fn pay(id: u64) -> anyhow::Result<()> {
    let call = ::transactional_message::__private::call(::core::module_path!(), "pay")
        .fence()
        .send("", "paid", &Paid { id });
    ::transactional_message::__private::run(
            call,
            async move {
                if let ::core::option::Option::Some(ret) = ::core::option::Option::None::<
                    anyhow::Result<()>,
                > {
                    return ret;
                }
                Ok(())
            },
        )
        .await
}

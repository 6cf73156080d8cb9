async fn pay(id: u64) -> Result<(), tonic::Status> {
    let call = ::transactional_message::__private::call(::core::module_path!(), "pay")
        .fence()
        .send("", "paid", &id);
    ::transactional_message::__private::with_body(
            call,
            async move {
                if let ::core::option::Option::Some(ret) = ::core::option::Option::None::<
                    Result<(), tonic::Status>,
                > {
                    return ret;
                }
                Ok(())
            },
        )
        .error(Self::not_stored)
        .await
}

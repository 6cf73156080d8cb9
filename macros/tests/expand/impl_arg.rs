async fn pay(command: impl Command + Send) -> Result<impl Display + Send, PayError> {
    let call = ::transactional_message::__private::call(::core::module_path!(), "pay")
        .fence()
        .send("", "paid", &Paid { id: command.id() });
    ::transactional_message::__private::run(
            call,
            async move {
                if let ::core::option::Option::Some(ret) = ::core::option::Option::None::<
                    Result<_, PayError>,
                > {
                    return ret;
                }
                Ok(command.id())
            },
        )
        .await
}

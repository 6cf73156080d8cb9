async fn pay(
    Pay { id, .. }: Pay,
    mut call: u32,
    (prefix, _): (String, u8),
) -> Result<u32, PayError> {
    let call = ::transactional_message::__private::call(::core::module_path!(), "pay")
        .fence()
        .send("", &(prefix + "paid"), &Paid { id });
    ::transactional_message::__private::run(
            call,
            async move {
                if let ::core::option::Option::Some(ret) = ::core::option::Option::None::<
                    Result<u32, PayError>,
                > {
                    return ret;
                }
                call += 1;
                Ok(call)
            },
        )
        .await
}

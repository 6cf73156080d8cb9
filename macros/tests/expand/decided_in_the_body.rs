async fn sell(db: &PgPool, items: &[Item]) -> Result<(), SellError> {
    let call = ::transactional_message::__private::call(::core::module_path!(), "sell")
        .fence();
    ::transactional_message::__private::run(
            call,
            async move {
                if let ::core::option::Option::Some(ret) = ::core::option::Option::None::<
                    Result<(), SellError>,
                > {
                    return ret;
                }
                let mut tx = begin(db).await?;
                for item in items {
                    tx.send(Message::json("stock", "item.sold", item)?)?;
                }
                Ok(tx.commit().await?)
            },
        )
        .await
}

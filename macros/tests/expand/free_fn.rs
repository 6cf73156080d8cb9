/// Pays an order.
#[must_use]
pub async fn pay(db: &SqlitePool, command: Pay) -> Result<Receipt, PayError> {
    #![allow(clippy::shadow_reuse)]
    let call = ::transactional_message::__private::call(::core::module_path!(), "pay")
        .fence()
        .send(
            "payments",
            "payment.completed",
            &PaymentCompleted {
                order_id: &command.order_id,
                cents: command.cents,
            },
        );
    ::transactional_message::__private::run(
            call,
            async move {
                if let ::core::option::Option::Some(ret) = ::core::option::Option::None::<
                    Result<Receipt, PayError>,
                > {
                    return ret;
                }
                let mut tx = begin(db).await?;
                let receipt = book(&mut tx, command).await?;
                tx.commit().await?;
                Ok(receipt)
            },
        )
        .await
}

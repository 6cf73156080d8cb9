impl Shipping {
    #[inline]
    pub(crate) async fn ship(&self, parcel: Parcel) -> Result<Label, ShipError> {
        self.carrier.order(&parcel).await
    }
    ::core::compile_error! {
        "`exchange` needs a value, such as `exchange = \"payments\"`"
    }
    ::core::compile_error! {
        "unknown argument: expected one of `exchange`, `routing_key`, `message`, `messages`, `fence`, `check_back`, `name`, `business_key`, `headers`, `type`, `content_type`, `delay`, `deliver_at`, `expires_in`, `priority`, `on_err`, `check_after`, `error`, `messenger`, `crate`"
    }
    ::core::compile_error! {
        "`name` takes a string literal, such as `name = \"pay\"`"
    }
    ::core::compile_error! {
        "expected `,` before the next argument"
    }
    ::core::compile_error! {
        "`Self` is unknown where handlers are registered: write the type's name, such as `Payments::asked`"
    }
    ::core::compile_error! {
        "missing `message`, such as `message = PaymentCompleted { .. }`"
    }
    ::core::compile_error! {
        "stacked attributes are one call, decided by one answer: write `check_back`, as the first of them does"
    }
}
